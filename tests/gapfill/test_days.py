import shutil
from itertools import pairwise

import numpy as np
import pytest

from miha.errors import DataError
from miha.events import observed_by
from miha.gapfill.days import MIN_TARGETS, MIN_VISIBLE, clear_days, paste_gap, warn_if_few
from miha.gapfill.gaps import Gaps
from miha.gapfill.problem import GapFill
from miha.rasters.simulate import simulate
from miha.rasters.stack import list_rasters
from tests.support.scenes import SMALL


def test_the_split_is_seeded_disjoint_and_without_test_days_where_there_is_truth(problem, scenes):
    split = problem.split(0)
    assert split == problem.split(0) != problem.split(1)
    assert split.test == ()
    shutil.rmtree(scenes / "truth")
    without_truth = GapFill(data=scenes, **SMALL).split(0)
    assert without_truth.test
    assert not set(without_truth.test) & {*without_truth.train, *without_truth.validating}


def test_a_single_network_does_not_see_the_days_that_validate_it(scenes):
    split = GapFill(data=scenes, **SMALL, members=1).split(0)
    assert len(split.valid) == 1
    assert split.validating
    assert not set(split.train) & set(split.validating)


@pytest.mark.parametrize("members", [2, 4, 8])
def test_of_several_networks_each_clear_day_validates_half_and_teaches_the_others(scenes, members):
    shutil.rmtree(scenes / "truth")
    problem = GapFill(data=scenes, **SMALL, members=members)
    history, split = problem.history(), problem.split(0)
    clear = {history.dates[day].isoformat() for day in clear_days(history.values)}
    assert {*split.validating} == clear - {*split.test}
    assert set(split.train) == {when.isoformat() for when in history.dates} - {*split.test}
    assert all(sum(split.learning(day)) == members / 2 for day in split.validating)
    sizes = [len(days) for days in split.valid]
    assert len(sizes) == members
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1
    assert len({*split.valid}) == members


@pytest.mark.parametrize("content", [None, ".gitkeep"])
def test_a_truth_folder_without_scenes_is_none(scenes, content):
    shutil.rmtree(scenes / "truth")
    without = GapFill(data=scenes).split(0)
    (scenes / "truth").mkdir()
    if content:
        (scenes / "truth" / content).touch()
    assert GapFill(data=scenes).split(0) == without
    assert without.test


def test_no_day_is_held_out_for_the_test_if_none_is_wanted(scenes):
    shutil.rmtree(scenes / "truth")
    assert GapFill(data=scenes, test_fraction=0).split(0).test == ()


def test_a_day_is_clear_by_its_share_of_what_any_day_shows():
    days = np.full((3, 10, 10), np.nan, np.float32)
    days[0, :2], days[1, :2, :3], days[2, :2, :2] = 1, 1, 1  # 20 pixels are ever seen: 20, 6 and 4 of them
    assert clear_days(days).tolist() == [0, 1]


def test_as_days_are_added_models_share_test_days_and_those_of_one_network_train_on_none_of_them(tmp_path):
    simulate(tmp_path / "all", days=30, height=32, width=32, seed=3)
    for folder in ("truth", "gapped"):
        shutil.rmtree(tmp_path / "all" / folder)
    days = list_rasters(tmp_path / "all" / "history")
    splits, alone = [], []
    for count in (12, 15, 20, 30):
        grown = tmp_path / str(count)
        (grown / "history").mkdir(parents=True)
        for path in days[:count]:
            shutil.copy(path, grown / "history")
        splits.append(GapFill(data=grown, **SMALL).split(0))
        alone.append(GapFill(data=grown, **SMALL, members=1).split(0))
    for before, after in pairwise(splits):
        assert set(before.test) & set(after.test)
        assert len(after.test) >= len(before.test)
    for before, after in pairwise(alone):
        assert not set(before.train) & set(after.test)
    assert splits[-1] != GapFill(data=grown, **SMALL).split(1)


def test_too_few_days_are_reported(scenes):
    for path in list_rasters(scenes / "history")[3:]:
        path.unlink()
    with pytest.raises(DataError, match="too few days"):
        GapFill(data=scenes).fingerprint()


def test_a_gap_that_leaves_too_little_is_drawn_again():
    day = np.full((20, 20), np.nan, np.float32)
    day[:10] = 1.0
    for seed in range(30):
        scene = paste_gap(day, Gaps(np.empty((0, 20, 20), bool)), 0.97, np.random.default_rng(seed))
        assert (~np.isnan(scene)).sum() >= MIN_VISIBLE
        assert (np.isnan(scene) & ~np.isnan(day)).sum() >= MIN_TARGETS


def test_scenes_too_small_for_any_gap_are_reported():
    day = np.ones((4, 4), np.float32)
    with pytest.raises(DataError, match=r"the scenes \(4x4 pixels\) are too small to paste gaps on"):
        paste_gap(day, Gaps(np.empty((0, 4, 4), bool)), 0.5, np.random.default_rng(0))


def test_a_day_that_shows_little_neither_validates_nor_tests(scenes):
    shutil.rmtree(scenes / "truth")
    for seed in range(5):
        problem = GapFill(data=scenes, **SMALL)
        history, split = problem.history(), problem.split(seed)
        clear = {history.dates[day].isoformat() for day in clear_days(history.values)}
        assert clear < {when.isoformat() for when in history.dates}
        assert {*split.validating, *split.test} <= clear


def test_a_short_history_is_warned_of():
    events = []
    with observed_by(events.append):
        warn_if_few(8)
        warn_if_few(7)
    (message,) = events
    assert message.line.startswith("the history has 7 days, fewer than 8")
