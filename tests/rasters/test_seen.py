import numpy as np
import pytest

from miha.rasters import stack
from miha.rasters.seen import FirstSeen
from miha.rasters.stack import read_stack
from tests.support.rasters import counted_reads


@pytest.mark.parametrize("in_memory", [0, 10**9])
def test_pixels_are_unseen_until_the_first_day_that_shows_them(simulated, monkeypatch, in_memory):
    held = read_stack(simulated / "history").values
    monkeypatch.setattr(stack, "IN_MEMORY", in_memory)
    first = FirstSeen(read_stack(simulated / "history").values)
    for where in ((slice(0, 20), slice(3, 30)), (slice(7, 8), slice(0, 30))):
        for until in (0, 1, 3, len(held)):
            assert np.array_equal(first.unseen(where, until), np.isnan(held[:until, *where]).all(axis=0))


def test_a_day_is_read_once_for_all_days_of_a_series_and_not_if_all_was_seen_before(simulated, monkeypatch):
    monkeypatch.setattr(stack, "IN_MEMORY", 0)
    days = read_stack(simulated / "history").values
    first, where = FirstSeen(days), (slice(0, 30), slice(0, 30))
    with counted_reads() as reads:
        for until in range(len(days) + 1):
            unseen = first.unseen(where, until)
    seen_by = int(np.argmin([first.unseen(where, until).any() for until in range(len(days) + 1)]))
    assert not unseen.any()
    assert 1 < seen_by < len(days)
    assert [reads[f"history/{scene.path.name}"] for scene in days.scenes] == [1] * seen_by + [0] * (len(days) - seen_by)
