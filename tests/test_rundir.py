import os

import pytest

import miha
from miha.errors import RunError
from miha.events import RunStarted, StageStarted, observed_by
from miha.rundir import RunDirectory
from tests.support.runs import contents, cutting, trained, watch


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"start": {"lr": 0.1}}, {"schedule": {"cycles": 1}}, {"fitness": {"kind": "article"}}]
)
def test_a_run_that_would_lose_archives_is_refused(tiny_config, change):
    run = miha.optimize(tiny_config())
    before = contents(run.run_dir)
    key = next(iter(change))
    with pytest.raises(RunError, match=f"another configuration.*{key}.*--replace"):
        miha.optimize(tiny_config(**change))
    assert contents(run.run_dir) == before


def test_replace_leaves_what_a_fresh_run_leaves(tiny_config):
    miha.optimize(tiny_config(schedule={"cycles": 3}))
    replaced = miha.optimize(tiny_config(seed=1, replace=True))
    fresh = miha.optimize(tiny_config("fresh", seed=1))
    assert contents(replaced.run_dir) == contents(fresh.run_dir)


@pytest.mark.parametrize("change", [{}, {"schedule": {"cycles": 2}}], ids=["as it was", "with more cycles"])
def test_a_run_that_replaces_another_goes_on_doing_so_when_it_is_continued_without_being_asked(tiny_config, change):
    miha.optimize(tiny_config(schedule={"cycles": 3}))
    with observed_by(cutting(StageStarted, "1")), pytest.raises(KeyboardInterrupt):
        miha.optimize(tiny_config(seed=1, schedule={"cycles": 1}, replace=True))
    continued = miha.optimize(tiny_config(**{"seed": 1, "schedule": {"cycles": 1}} | change))
    fresh = miha.optimize(tiny_config("fresh", **{"seed": 1, "schedule": {"cycles": 1}} | change))
    assert contents(continued.run_dir) == contents(fresh.run_dir)
    extended = miha.optimize(tiny_config(seed=1, schedule={"cycles": 4}))
    assert list(extended.run_dir.glob("model/*_cycles.zip")), "and then loses nothing any more"


def test_replace_removes_no_files_of_the_users_own(tiny_config):
    run = miha.optimize(tiny_config())
    own = [run.run_dir / name for name in ("model/exported.onnx", "model/notes/a.zip", "population/b.png")]
    for path in own:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    miha.optimize(tiny_config(seed=1, replace=True))
    assert all(path.exists() for path in own)


def test_archives_without_a_configuration_are_not_overwritten(tiny_config):
    run = miha.optimize(tiny_config())
    (run.run_dir / "config.json").unlink()
    with pytest.raises(RunError, match=r"archives but no config\.json"):
        miha.optimize(tiny_config())


def test_keep_final_leaves_the_base_the_final_and_the_best_model(tiny_config):
    run = miha.optimize(tiny_config(run={"keep": "final"}))
    assert sorted(path.name for path in run.run_dir.rglob("*.zip")) == [
        f"model_{name}.zip" for name in ("base", "best", "final")
    ]


def test_a_second_run_in_one_directory_is_refused_and_the_holder_named(tiny_config):
    def intrude(event):
        if isinstance(event, RunStarted):
            with pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
                miha.optimize(tiny_config())

    with observed_by(intrude):
        miha.optimize(tiny_config())


def test_a_finished_run_of_which_only_the_final_models_were_kept_is_not_trained_again(tiny_config):
    first = miha.optimize(tiny_config(run={"keep": "final"}))
    again, events = watch(tiny_config(run={"keep": "final"}))
    assert trained(events) == []
    assert again.best == first.best


def test_a_finished_run_may_be_kept_otherwise_and_nothing_is_trained_for_it(tiny_config):
    miha.optimize(tiny_config())
    _, events = watch(tiny_config(run={"keep": "final"}))
    assert trained(events) == []
    run, events = watch(tiny_config())
    assert trained(events) == []
    assert sorted(path.name for path in run.run_dir.rglob("*.zip")) == [
        f"model_{name}.zip" for name in ("base", "best", "final")
    ]


def test_a_run_that_dies_while_it_removes_archives_has_ended_and_removes_the_rest(tiny_config, monkeypatch):
    def die(_):
        raise KeyboardInterrupt

    config = tiny_config(run={"keep": "final"})
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunDirectory, "keep_final_only", die)
        miha.optimize(config)
    run, events = watch(config)
    assert trained(events) == []
    assert sorted(path.name for path in run.run_dir.rglob("*.zip")) == [
        f"model_{name}.zip" for name in ("base", "best", "final")
    ]
    assert (run.run_dir / "report.html").exists()


@pytest.mark.parametrize("change", [{"schedule": {"cycles": 3}}, {"seed": 1, "replace": True}])
def test_a_run_that_dies_before_its_best_model_is_written_does_not_end_with_that_of_the_run_before(
    tiny_config, monkeypatch, change
):
    def die(*_):
        raise KeyboardInterrupt

    alone = {"run": {"keep": "final"}}
    miha.optimize(tiny_config(**alone))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(RunDirectory, "write_best", die)
        miha.optimize(tiny_config(**alone, **change))
    again = miha.optimize(tiny_config(**alone, **change))
    fresh = miha.optimize(tiny_config("fresh", **alone, **change))
    assert again.model.read_bytes() == fresh.model.read_bytes()


def test_a_run_whose_configuration_is_damaged_does_not_pass_for_one_that_replaces_it(tiny_config):
    alone = {"run": {"keep": "final"}}
    former = miha.optimize(tiny_config(**alone))
    (former.run_dir / "config.json").write_text("{")

    with observed_by(cutting(StageStarted, "1")), pytest.raises(KeyboardInterrupt):
        miha.optimize(tiny_config(**alone, seed=1, replace=True))
    again = miha.optimize(tiny_config(**alone, seed=1, replace=True))
    assert again.model.read_bytes() == miha.optimize(tiny_config("fresh", **alone, seed=1)).model.read_bytes()


def test_samples_of_a_run_that_is_replaced_go_with_it(small_fill):
    for seed in (0, 1):
        config = small_fill().model_copy(update={"seed": seed, "replace": True})
        run = miha.optimize(config)
        assert len(list((run.run_dir / "cache").glob("*.safetensors"))) == 1


def test_samples_outlive_a_configuration_that_dvc_removed_before_it_continues_a_stage(small_fill):
    config = small_fill().model_copy(update={"replace": True})
    miha.optimize(config)
    (samples,) = (config.run_dir / "cache").glob("*.safetensors")
    made = samples.stat().st_mtime_ns
    (config.run_dir / "config.json").unlink()
    miha.optimize(config)
    assert samples.stat().st_mtime_ns == made
