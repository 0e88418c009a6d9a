"""Headless Chromium, for tests of pages; a test that needs one is skipped where there is none."""

import shutil
import subprocess

import pytest


def dumped(address, width, wait=4000):
    """The page at an address as it is after its scripts ran for ``wait`` milliseconds, in a window of that width."""
    return _run(address, width, "--dump-dom", f"--virtual-time-budget={wait}")


def _run(address, width, *options):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs Chromium")
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", *options]
    return subprocess.run([*command, address], capture_output=True, text=True, timeout=120, check=True).stdout
