import json
import math
import os

import numpy as np
import pandas as pd
import pytest
import torch

import miha
from miha.errors import RunError
from miha.events import RunEnded, RunStarted, StageEnded, StageReused, StageStarted, observed_by
from miha.evolution.crossover import cross
from miha.evolution.seeds import torch_seed
from miha.plan import Plan
from miha.records.archive import read_archive, read_manifest
from miha.rundir import RunDirectory
from miha.training.loop import seeded
from miha.training.stage import run_stage
from tests.support.runs import contents, cutting, initial_of, of_kind, trained, watch
from tests.support.tiny import TinyProblem, TunableProblem

CROSSING = {"seed": 2, "schedule": {"population_size": 6}, "search": {"crossovers": 2}}


def test_a_run_leaves_exactly_these_files(tiny_config):
    run = miha.optimize(tiny_config())
    files = {str(path.relative_to(run.run_dir)) for path in run.run_dir.rglob("*") if path.is_file()} - {".lock"}
    assert files == {
        "config.json",
        "history.csv",
        "population.csv",
        "provenance.json",
        "timings.csv",
        "report.html",
        *(f"model/model_{name}.zip" for name in ("base", "init", "1", "2", "final", "best")),
        *(f"population/{cycle}_{number}_model.zip" for cycle in (1, 2) for number in range(4)),
        "population/1_selection.json",
        "population/2_selection.json",
    }


def test_the_budget_is_kept_and_told_before_the_run(tiny_config):
    config = tiny_config()
    run, events = watch(config)
    budget = 2 * 2 + 2 * (4 * 2 + 1)
    assert config.schedule.budget == budget == run.history.epoch.gt(0).sum() == len(run.history) - 1
    assert isinstance(events[0], RunStarted)
    assert events[0].budget == budget


def test_candidates_with_the_most_steps_are_started_first(tiny_config):
    config = tiny_config(schedule={"cycles": 1}, search={"operators": {"batch_size": 1.0}})
    run, events = watch(config)
    started = [name for name in trained(events) if name.startswith("1_")]
    records = {name: read_manifest(run.run_dir / f"population/{name}_model.zip").record for name in started}
    sizes = {name: record.hyperparameters.batch_size for name, record in records.items()}
    assert len(set(sizes.values())) == len(started) == 4
    assert started == sorted(started, key=sizes.__getitem__)


def test_the_next_cycle_tries_what_came_second_beside_what_won(tiny_config):
    run = miha.optimize(tiny_config(**CROSSING))
    population = pd.read_csv(run.run_dir / "population.csv")
    first, second = (population[population.cycle == cycle] for cycle in (1, 2))
    crossed = second[second.crossed]
    assert len(crossed) == 2
    fitter = first[(first.fitness > first.fitness[first.candidate == 0].item()) & ~first.selected]
    same = ["operator", "target", "before", "after"]
    origins = crossed.merge(fitter, on=same, suffixes=("", "_before"))
    assert len(origins) == 2

    winner = read_manifest(run.run_dir / "model/model_1.zip").record.hyperparameters
    for number, before in origins[["candidate", "candidate_before"]].itertuples(index=False):
        other = read_manifest(run.run_dir / f"population/1_{before}_model.zip").record.hyperparameters
        both = read_manifest(run.run_dir / f"population/2_{number}_model.zip").record.hyperparameters
        parent = read_manifest(run.run_dir / "model/model_init.zip").record.hyperparameters
        assert both == cross(parent, winner, other)


def test_without_crossover_every_child_is_drawn(tiny_config):
    run = miha.optimize(tiny_config(**CROSSING | {"search": {"crossovers": 0}}))
    assert not pd.read_csv(run.run_dir / "population.csv").crossed.any()


def test_the_history_is_tidy_and_counts_epochs_along_the_mainline(tiny_config):
    run = miha.optimize(tiny_config())
    mainline = run.history[run.history.candidate.isna()]
    assert mainline.epoch.tolist() == [0, 1, 2, 5, 8, 9, 10]
    candidates = run.history[run.history.candidate.notna()]
    assert candidates[candidates.cycle == 1].epoch.tolist() == [3, 4] * 4
    written = pd.read_csv(run.run_dir / "history.csv").astype({"candidate": "Int64"})
    pd.testing.assert_frame_equal(written, run.history, check_dtype=False)
    assert list(written.columns) == [
        "stage",
        "cycle",
        "candidate",
        "epoch",
        "train_loss",
        "valid_loss",
        "mae",
        "batch_size",
        "optimizer",
        "lr",
    ]


def test_the_learning_rate_of_annealed_candidates_falls_and_the_winner_goes_on_with_the_whole_of_it(tiny_config):
    history = miha.optimize(tiny_config(schedule={"candidate_annealing": True})).history
    for _, curve in history[history.stage == "candidate"].groupby(["cycle", "candidate"]):
        assert curve.lr.iloc[-1] < curve.lr.iloc[0]
    for _, curve in history[history.stage == "fixing"].groupby("cycle"):
        assert curve.lr.nunique() == 1


def test_fitness_is_taken_on_validation_and_not_on_training_loss(tiny_config):
    run = miha.optimize(tiny_config(fitness={"rate_weight": 0.0}))
    before = run.history[(run.history.stage == "initial")].valid_loss.iloc[-1]
    population = pd.read_csv(run.run_dir / "population.csv")
    for candidate in population[population.cycle == 1].itertuples():
        curve = run.history[(run.history.cycle == 1) & (run.history.candidate == candidate.candidate)]
        assert candidate.fitness == pytest.approx((before - curve.valid_loss.iloc[-1]) / before)


def test_the_best_model_is_the_mainline_archive_with_the_lowest_validation_loss(tiny_config):
    run = miha.optimize(tiny_config())
    records = [
        read_manifest(run.run_dir / "model" / f"model_{name}.zip").record
        for name in ("base", "init", "1", "2", "final")
    ]
    expected = min(records, key=lambda record: record.valid_loss)
    best, weights, _ = read_archive(run.model)
    assert best.origin == expected.name == run.best.name
    origin = read_archive(run.run_dir / "model" / f"model_{expected.name}.zip").weights
    assert all(torch.equal(weights[name], origin[name]) for name in origin)


class Contrary(TinyProblem):
    """Trains away from what it is validated by."""

    def training_loss(self, output, batch, name):
        loss, count = super().training_loss(output, batch, name)
        return -loss, count


def test_the_base_is_the_network_before_any_training(tiny_config):
    run = miha.optimize(tiny_config())
    manifest, weights, optimizer = read_archive(run.run_dir / "model/model_base.zip")
    record = manifest.record
    assert (record.name, record.parent, record.last_epoch, len(record.epochs)) == ("base", None, 0, 1)
    assert optimizer == {}
    with seeded(torch_seed(0, "weights")):
        untrained = TinyProblem().build_network().state_dict()
    assert all(torch.equal(weights[name], untrained[name]) for name in untrained)
    first = run.history.iloc[0]
    assert (first.stage, first.cycle, first.epoch) == ("base", 0, 0)
    assert np.isnan(first.train_loss)
    assert first.valid_loss == record.valid_loss


def test_the_base_is_the_best_model_where_training_only_makes_things_worse(tiny_config):
    run, events = watch(tiny_config(problem=Contrary()))
    assert run.history.valid_loss.idxmin() == 0
    assert run.best.name == "base"
    best, base = (read_archive(run.run_dir / f"model/model_{name}.zip") for name in ("best", "base"))
    assert best.manifest.origin == "base"
    assert best.weights.keys() == base.weights.keys()
    assert all(torch.equal(best.weights[name], base.weights[name]) for name in base.weights)
    (ended,) = of_kind(events, RunEnded)
    assert ended.best == "base"
    assert ended.gains[0].startswith("Training added nothing")
    assert "Training added nothing" in (run.run_dir / "report.html").read_text()


class Blind(TinyProblem):
    """Its validation says nothing."""

    def validation(self, output, batch):
        loss, metric, count = super().validation(output, batch)
        return loss * math.nan, metric, count


def test_a_validation_loss_that_is_not_finite_before_training_is_told_and_nothing_is_trained(tiny_config):
    started = []
    with (
        observed_by(started.append),
        pytest.raises(RunError, match=r"loss before training is not finite\. Look at the network and the data"),
    ):
        miha.optimize(tiny_config(problem=Blind()))
    assert trained(started) == ["base"]


def test_shares_in_the_archives_add_up_to_each_validation_loss(tiny_config):
    run = miha.optimize(tiny_config())
    archives = [*run.run_dir.glob("model/*.zip"), *run.run_dir.glob("population/*.zip")]
    for archive in archives:
        for epoch in read_manifest(archive).record.epochs:
            assert len(epoch.shares) == 20
            assert sum(epoch.shares) == pytest.approx(epoch.valid_loss, rel=1e-12)


def test_a_resumed_run_reuses_the_base(tiny_config):
    with observed_by(cutting(StageStarted, "1")), pytest.raises(KeyboardInterrupt):
        miha.optimize(tiny_config())
    base = tiny_config().run_dir / "model/model_base.zip"
    made = base.stat().st_mtime_ns
    _, events = watch(tiny_config())
    assert [event.stage.name for event in of_kind(events, StageReused)][:2] == ["base", "init"]
    assert "base" not in trained(events)
    assert base.stat().st_mtime_ns == made


@pytest.mark.parametrize(
    ("moment", "begins"),
    [((StageStarted, "base"), "base"), ((StageEnded, "base"), "init"), ((StageStarted, "init"), "init")],
)
def test_a_run_that_is_interrupted_around_the_base_continues_with_the_same_bits(tiny_config, moment, begins):
    undisturbed = miha.optimize(tiny_config("undisturbed"))
    with observed_by(cutting(*moment)), pytest.raises(KeyboardInterrupt):
        miha.optimize(tiny_config())
    run, events = watch(tiny_config())
    assert trained(events)[0] == begins
    assert contents(run.run_dir) == contents(undisturbed.run_dir)


def test_a_base_that_was_damaged_is_made_again_and_nothing_else_is(tiny_config):
    run = miha.optimize(tiny_config())
    before = contents(run.run_dir)
    (run.run_dir / "model/model_base.zip").write_bytes(b"half an arch")
    _, events = watch(tiny_config())
    assert trained(events) == ["base"]
    assert contents(run.run_dir) == before


def test_whether_a_run_begins_with_its_base_changes_no_weight(tiny_config):
    """Initial training is that of a network that was never validated before."""
    plan = Plan.of(tiny_config())
    initial = initial_of(plan)
    alone = initial.model_copy(update={"parent": None, "run_dir": str(plan.run_dir / "alone")})
    assert run_stage(alone).losses == run_stage(initial).losses
    weights, expected = (read_archive(spec.archive).weights for spec in (alone, initial))
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize("workers", [2, 3])
def test_the_same_bits_with_one_and_with_several_workers(tiny_config, workers):
    one = miha.optimize(tiny_config("one"))
    several = miha.optimize(tiny_config("several", run={"workers": workers}))
    assert contents(one.run_dir) == contents(several.run_dir)


def test_every_operator_gives_the_same_bits_with_one_and_with_several_workers(tiny_config):
    schedule = {"population_size": 8, "candidate_epochs": 1}
    one, two = (
        miha.optimize(tiny_config(f"{count}", problem=TunableProblem(), run={"workers": count}, schedule=schedule))
        for count in (1, 2)
    )
    assert contents(one.run_dir) == contents(two.run_dir)
    assert pd.read_csv(one.run_dir / "population.csv").operator.nunique() > 5


def test_another_seed_gives_another_run(tiny_config):
    one, other = (miha.optimize(tiny_config(f"seed{seed}", seed=seed)) for seed in (0, 1))
    assert one.best.valid_loss != other.best.valid_loss


def test_a_run_moves_no_global_generator(tiny_config):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    miha.optimize(tiny_config())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.get_num_threads() == before[2]


def test_a_finished_run_is_not_trained_again(tiny_config):
    first = miha.optimize(tiny_config())
    before = contents(first.run_dir)
    _, events = watch(tiny_config())
    assert trained(events) == []
    assert contents(first.run_dir) == before


@pytest.mark.parametrize(("said", "left"), [({}, ["2_2", "2_3"]), (CROSSING, ["2_2", "2_3", "2_4", "2_5"])])
def test_an_interrupted_run_continues_with_the_same_bits(tiny_config, said, left):
    undisturbed = miha.optimize(tiny_config("undisturbed", **said))

    with observed_by(cutting(StageStarted, "2_2")), pytest.raises(KeyboardInterrupt):
        miha.optimize(tiny_config(**said))
    run, events = watch(tiny_config(**said))
    assert trained(events) == [*left, "2", "final"]
    crossed = pd.read_csv(run.run_dir / "population.csv").crossed.any()
    assert crossed == (said is CROSSING)
    assert contents(run.run_dir) == contents(undisturbed.run_dir)


def test_a_finished_run_is_extended_by_more_cycles_and_loses_nothing(tiny_config):
    short = miha.optimize(tiny_config())
    former = (short.run_dir / "model/model_final.zip").read_bytes()
    longer, events = watch(tiny_config(schedule={"cycles": 3}))
    assert trained(events) == ["3_0", "3_1", "3_2", "3_3", "3", "final"]
    assert (short.run_dir / "model/model_final_of_2_cycles.zip").read_bytes() == former
    fresh = miha.optimize(tiny_config("fresh", schedule={"cycles": 3}))
    kept = contents(longer.run_dir)
    kept.pop("model/model_final_of_2_cycles.zip")
    assert kept == contents(fresh.run_dir)


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


def test_the_unchanged_baseline_trains_as_many_epochs_without_a_population(tiny_config):
    run = miha.optimize(tiny_config(unchanged=True))
    assert run.history.candidate.isna().all()
    assert run.history.epoch.tolist() == list(range(tiny_config().schedule.budget + 1))
    assert run.history.optimizer.unique().tolist() == ["Adam"]


def test_configuration_and_provenance_say_what_was_run(tiny_config):
    run = miha.optimize(tiny_config(seed=4))
    said = json.loads((run.run_dir / "config.json").read_text())
    assert said["seed"] == 4
    assert said["problem"]["points"] == 70
    assert str(run.run_dir) not in (run.run_dir / "config.json").read_text()
    provenance = json.loads((run.run_dir / "provenance.json").read_text())
    assert {"miha", "git_revision", "data_digest", "configuration", "libraries", "device", "host", "finished"} <= set(
        provenance
    )


def test_a_second_run_in_one_directory_is_refused_and_the_holder_named(tiny_config):
    def intrude(event):
        if isinstance(event, RunStarted):
            with pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
                miha.optimize(tiny_config())

    with observed_by(intrude):
        miha.optimize(tiny_config())


def test_a_network_that_was_changed_is_trained_anew(tiny_config, monkeypatch):
    miha.optimize(tiny_config())
    monkeypatch.setattr(
        "tests.support.tiny.TinyNet", lambda: torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Flatten(0))
    )
    with pytest.raises(RunError, match="network_digest"):
        miha.optimize(tiny_config())


def test_a_run_that_diverges_at_the_start_says_so(tiny_config):
    with pytest.raises(RunError, match=r"init \(initial training\) diverged"):
        miha.optimize(tiny_config(start={"optimizer": "SGD", "lr": 1e30}, search={"max_lr": 1e30}))


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
