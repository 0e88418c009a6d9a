import shutil

import numpy as np
import pytest

from miha.rasters import decoded, stack
from miha.rasters.stack import read_stack


@pytest.fixture
def days(simulated, monkeypatch):
    monkeypatch.setattr(stack, "IN_MEMORY", 0)
    return read_stack(simulated / "history").values


def test_windows_are_the_same_from_what_was_decoded_and_from_rasters_once_that_is_gone(days, tmp_path):
    where = slice(None), slice(3, 20), slice(7, 31)
    expected, folder = days[where], tmp_path / "days"
    folder.mkdir()
    for one in decoded.decodings(days, folder):
        decoded.decode(one)
    decoded.use_decoded(days, folder)
    assert all(scene.decoded for scene in days.scenes)
    assert np.array_equal(days[where], expected, equal_nan=True)
    shutil.rmtree(folder)
    decoded.use_decoded(days, folder)
    assert np.array_equal(days[where], expected, equal_nan=True)


def test_what_would_fill_the_disk_is_not_decoded(days, tmp_path, monkeypatch):
    assert decoded.is_worthwhile(days, tmp_path)
    needed = 4 * int(np.prod(days.shape))
    monkeypatch.setattr(decoded, "MOST", needed - 1)
    assert not decoded.is_worthwhile(days, tmp_path)
