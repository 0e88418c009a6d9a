from datetime import timedelta

import numpy as np
import pytest
import torch

from miha.errors import DataError
from miha.gapfill import cases, excerpt, samples
from miha.gapfill.cases import WINDOWS, held_out_cases
from miha.gapfill.days import MIN_TARGETS, clear_days
from miha.gapfill.excerpt import pasted_excerpt, window_at
from miha.gapfill.network_filler import NetworkFiller
from miha.gapfill.problem import GapFill
from miha.gapfill.view import Opened
from miha.rasters import stack
from miha.rasters.opened import OpenDays, OpenScene
from tests.support.filling import load, small_run, without_truth
from tests.support.scenes import SMALL

SIDE = 16


@pytest.fixture
def opened(scenes, monkeypatch):
    """A data set whose history is opened and not read, with windows that are smaller than its scenes."""
    monkeypatch.setattr(stack, "IN_MEMORY", 0)
    for module in (samples, cases):
        monkeypatch.setattr(module, "SIDE", SIDE)
    return scenes


@pytest.fixture
def problem(opened):
    return GapFill(data=opened, patch=SIDE, **SMALL)


@pytest.mark.parametrize(("pixel", "rows", "columns"), [(0, (0, 16), (0, 16)), (20 * 40 + 39, (12, 28), (24, 40))])
def test_a_window_lies_around_a_pixel_and_inside_the_scene(pixel, rows, columns):
    assert window_at(pixel, (30, 40), 16) == (slice(*rows), slice(*columns))


def test_a_window_of_a_scene_is_a_scene_by_itself(problem):
    history, training = problem.history(), problem.training_days(0)
    when = history.dates[int(clear_days(history.values)[0])]
    one = pasted_excerpt(history, training, when, problem.static_files(), 0.4, np.random.default_rng(0), SIDE)
    assert one.scene.shape == one.truth.shape == one.static.continuous.shape[1:] == (SIDE, SIDE)
    assert one.background.anomalies.shape[1:] == (SIDE, SIDE)
    assert len(one.background.offsets) == len(training.without(when))
    assert one.hidden.sum() >= MIN_TARGETS
    shown = ~np.isnan(one.scene)
    assert np.array_equal(one.scene[shown], one.truth[shown])


def test_what_a_gap_hides_decides_nothing_that_predicts_it(problem, monkeypatch):
    """Which days are alike is found without it."""
    given = []
    monkeypatch.setattr(excerpt, "Opened", lambda *args: given.append(args[-1]) or Opened(*args))
    history = problem.history()
    when = history.dates[int(clear_days(history.values)[0])]
    one = pasted_excerpt(history, history, when, problem.static_files(), 0.5, np.random.default_rng(1), SIDE)
    whole = history.values.sampled[history.dates.index(when)]
    assert np.isnan(given[0]).sum() - np.isnan(whole).sum() == one.hidden.sum()


def test_of_a_long_history_a_bounded_number_of_days_is_read_for_a_window(problem, monkeypatch):
    history, read = problem.history(), []
    many, days = 30, history.values
    repeated = np.arange(many * len(history)) % len(history)
    values = OpenDays([days.scenes[day] for day in repeated], days.pixels, days.sampled[repeated])
    dates = tuple(history.dates[0] + timedelta(days=day) for day in range(len(repeated)))
    long = stack.Stack(values, dates, history.grid, history.unit)
    getitem = OpenScene.__getitem__
    monkeypatch.setattr(OpenScene, "__getitem__", lambda self, where: read.append(self.path) or getitem(self, where))
    when = dates[int(clear_days(values)[7])]
    pasted_excerpt(long, long, when, problem.static_files(), 0.4, np.random.default_rng(0), SIDE)
    layers = len(problem.static_files().layers)
    assert len(read) <= excerpt.READ + excerpt.MASKS + excerpt.TRIES + 2 + layers < len(long)


def test_samples_of_an_opened_stack_are_windows_and_the_same_each_time(problem, tmp_path):
    one, again = load(problem, tmp_path / "a"), load(problem, tmp_path / "b")
    inputs, target, mask = one.train.tensors
    assert inputs.shape == (6, problem.channels, SIDE, SIDE)
    assert torch.isfinite(inputs).all()
    hidden = mask.amax(dim=1)
    assert (target[hidden == 0] == 0).all()
    assert (hidden.sum(dim=(1, 2)) >= MIN_TARGETS).all()
    assert torch.equal(inputs, again.train.tensors.inputs)


@pytest.mark.parametrize("truth", [True, False])
def test_a_run_on_an_opened_stack_ends_with_a_model_a_judgement_and_a_report(opened, tmp_path, truth):
    if not truth:
        without_truth(opened)
    run = small_run(tmp_path / "run", {"data": opened, "patch": SIDE})
    assert run.best.name
    report = (run.run_dir / "report.html").read_text()
    assert "in windows of at most" in report
    judged = held_out_cases(NetworkFiller(run.model, opened))
    assert all(case.scene.shape == (SIDE, SIDE) for case in judged)
    if truth:
        assert len(judged) <= WINDOWS * len(list((opened / "gapped").iterdir()))


def test_a_network_that_must_see_whole_scenes_does_not_train_on_an_opened_stack(opened):
    with pytest.raises(DataError, match=r"too large for memory, and problem\.network autoencoder must see whole"):
        GapFill(data=opened, network="autoencoder", **SMALL).fingerprint()
