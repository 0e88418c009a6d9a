"""The services of compose.yaml: no container runs here, so the file is read and checked for what would stop it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]


def test_each_service_waits_for_one_that_can_become_what_it_waits_for(services):
    for name, service in services.items():
        for other, wanted in service.get("depends_on", {}).items():
            assert other in services, f"{name} waits for {other}"
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in services[other]
    assert services["server"]["depends_on"] == {"migration": {"condition": "service_completed_successfully"}}


def test_the_page_is_reachable_from_this_machine_alone_and_no_password_is_in_the_file(services):
    assert [port for service in services.values() for port in service.get("ports", [])] == ["127.0.0.1:4200:4200"]
    assert services["database"]["environment"]["POSTGRES_PASSWORD"].startswith("${MIHA_DB_PASSWORD:?")


def test_prefect_has_the_commands_with_their_options(services):
    lines = "\n".join(str(service.get("command", "")) for service in services.values())
    commands = re.findall(r'prefect [^&"\n]+', lines)
    assert len(commands) == 5
    for command in commands:
        words = [word for word in command.split()[1:] if word != "--no-prompt"]
        names = [word for word in words if not word.startswith("-")]
        helped = subprocess.run(
            [sys.executable, "-m", "prefect", *names[: 3 if names[:2] == ["server", "database"] else 2], "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert helped.returncode == 0, command
        assert all(word in helped.stdout for word in words if word.startswith("--")), command


def test_the_image_copies_files_that_exist():
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            assert all((ROOT / name).exists() for name in line.split()[1:-1]), line
