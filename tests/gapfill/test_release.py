import json

import pytest

from miha.errors import DataError
from miha.gapfill.judging import mean_errors
from miha.gapfill.network_filler import NetworkFiller
from miha.gapfill.release import read_release, release_if_better, released_model
from tests.support.filling import small_run, without_truth, write_broken


@pytest.fixture(scope="module")
def trained(simulated, tmp_path_factory):
    """Two models of one data set, the worse one first."""
    folder = tmp_path_factory.mktemp("trained")
    schedule = {"initial_epochs": 4, "cycles": 0}
    models = [
        small_run(
            folder / f"run{lr}", {"data": simulated}, schedule=schedule, start={"lr": lr}, fitness={"noise": 0}
        ).model
        for lr in (0.0001, 0.02)
    ]
    errors = [mean_errors({"one": NetworkFiller(model, simulated)})["one"] for model in models]
    assert errors[0] != errors[1]
    return [model for _, model in sorted(zip(errors, models, strict=True), reverse=True)]


def test_the_first_model_is_released(trained, simulated, tmp_path):
    verdict = release_if_better(trained[0], "first", simulated, tmp_path / "models")
    assert verdict.released
    assert "nothing was released before" in verdict.reason
    assert released_model(tmp_path / "models") == verdict.archive == tmp_path / "models/first.zip"
    assert verdict.archive.read_bytes() == trained[0].read_bytes()


def test_a_better_model_takes_its_place_and_a_worse_one_does_not(trained, simulated, tmp_path):
    worse, better = trained
    release_if_better(worse, "first", simulated, tmp_path)
    assert release_if_better(better, "second", simulated, tmp_path).released
    release = read_release(tmp_path)
    assert (release.archive, release.previous) == ("second.zip", "first.zip")
    verdict = release_if_better(worse, "third", simulated, tmp_path)
    assert not verdict.released
    assert "the released second.zip" in verdict.reason
    assert read_release(tmp_path) == release
    assert not (tmp_path / "third.zip").exists()
    assert verdict.archive == tmp_path / "second.zip"


def test_an_equal_model_is_not_better(trained, simulated, tmp_path):
    release_if_better(trained[0], "first", simulated, tmp_path)
    assert not release_if_better(trained[0], "second", simulated, tmp_path).released


def test_another_try_of_the_same_run_changes_nothing(trained, simulated, tmp_path):
    release_if_better(trained[0], "first", simulated, tmp_path)
    before = (tmp_path / "released.json").read_bytes()
    assert release_if_better(trained[0], "first", simulated, tmp_path).released
    assert (tmp_path / "released.json").read_bytes() == before


def test_a_released_model_that_cannot_be_used_any_more_is_replaced(trained, simulated, tmp_path):
    worse, better = trained
    release_if_better(better, "first", simulated, tmp_path)
    (tmp_path / "first.zip").write_text("damaged")
    verdict = release_if_better(worse, "second", simulated, tmp_path)
    assert verdict.released
    assert "cannot be used" in verdict.reason


def test_a_model_that_gives_no_number_is_not_released(trained, simulated, tmp_path):
    write_broken(trained[1], tmp_path / "nan.zip")
    verdict = release_if_better(tmp_path / "nan.zip", "first", simulated, tmp_path / "models")
    assert not verdict.released
    assert not (tmp_path / "models/released.json").exists()


def test_another_model_of_the_same_name_is_judged_for_itself(trained, simulated, tmp_path):
    worse, better = trained
    release_if_better(better, "first", simulated, tmp_path)
    assert not release_if_better(worse, "first", simulated, tmp_path).released
    assert (tmp_path / "first.zip").read_bytes() == better.read_bytes()


def test_an_earlier_model_is_put_back_by_editing_the_pointer(trained, simulated, tmp_path):
    for name, model in zip(("first", "second"), trained, strict=True):
        release_if_better(model, name, simulated, tmp_path)
    pointer = json.loads((tmp_path / "released.json").read_text())
    (tmp_path / "released.json").write_text(json.dumps(pointer | {"archive": "first.zip"}))
    assert released_model(tmp_path) == tmp_path / "first.zip"


def test_where_nothing_is_released_the_remedy_is_reported(tmp_path):
    with pytest.raises(DataError, match="nothing is released"):
        released_model(tmp_path)


def test_days_that_the_released_model_learned_do_not_count(scenes, tmp_path):
    """Without truth/, test days of the new model that the old one trained on say nothing."""
    without_truth(scenes)
    schedule = {"initial_epochs": 1, "cycles": 0}
    models = [
        NetworkFiller(small_run(tmp_path / f"run{seed}", {"data": scenes}, schedule=schedule, seed=seed).model, scenes)
        for seed in range(4)
    ]
    new, *others = models
    held_out = set(new.manifest.extras["split"]["test"])
    learned = next(one for one in others if not held_out & set(one.manifest.extras["split"]["test"]))
    with pytest.raises(DataError, match="share no held-out day"):
        mean_errors({"new": new, "old": learned})
    old, fresh = (tmp_path / f"run{number}/model/model_best.zip" for number in ([new, *others].index(learned), 0))
    release_if_better(old, "old", scenes, tmp_path / "models")
    verdict = release_if_better(fresh, "new", scenes, tmp_path / "models")
    assert not verdict.released
    assert "cannot be compared with the released one" in verdict.reason
