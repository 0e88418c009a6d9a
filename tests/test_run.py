import json

import numpy as np
import pandas as pd
import pytest
import torch

import miha
from miha.errors import RunError
from miha.events import RunStarted, StageReused, StageStarted, observed_by
from miha.evolution.crossover import cross
from miha.records.archive import read_archive, read_manifest
from miha.report.page import write_report
from tests.support.runs import contents, cutting, trained, watch
from tests.support.tiny import TunableProblem

CROSSING = {"seed": 2, "schedule": {"population_size": 6}, "search": {"crossovers": 2}}


def test_a_run_leaves_exactly_these_files(tiny_config):
    run = miha.optimize(tiny_config())
    files = {str(path.relative_to(run.run_dir)) for path in run.run_dir.rglob("*") if path.is_file()} - {".lock"}
    assert files == {
        "config.json",
        "history.csv",
        "population.csv",
        "provenance.json",
        "schedule.yaml",
        "timings.csv",
        "report.html",
        *(f"model/model_{name}.zip" for name in ("base", "init", "1", "2", "final", "best")),
        *(f"population/{cycle}_{number}_model.zip" for cycle in (1, 2) for number in range(4)),
        "population/1_selection.json",
        "population/2_selection.json",
    }


def test_the_budget_is_kept_and_printed_before_the_run(tiny_config):
    config = tiny_config()
    run, events = watch(config)
    budget = 2 * 2 + 2 * (4 * 2 + 1)
    assert config.schedule.budget == budget == run.history.epoch.gt(0).sum() == len(run.history) - 1
    assert isinstance(events[0], RunStarted)
    assert events[0].budget == budget


def test_a_finished_run_that_is_called_again_and_killed_is_no_finished_run_until_it_ends_again(tiny_config):
    run = miha.optimize(tiny_config())
    before = contents(run.run_dir)
    with observed_by(cutting(StageReused, "init")), pytest.raises(KeyboardInterrupt):
        miha.optimize(tiny_config())
    with pytest.raises(RunError, match="not the directory of a finished run"):
        write_report(run.run_dir)  # its tables end where it was killed
    miha.optimize(tiny_config())
    assert contents(run.run_dir) == before
    write_report(run.run_dir)


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


def test_shares_in_the_archives_add_up_to_each_validation_loss(tiny_config):
    run = miha.optimize(tiny_config())
    archives = [*run.run_dir.glob("model/*.zip"), *run.run_dir.glob("population/*.zip")]
    for archive in archives:
        for epoch in read_manifest(archive).record.epochs:
            assert len(epoch.shares) == 20
            assert sum(epoch.shares) == pytest.approx(epoch.valid_loss, rel=1e-12)


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


@pytest.mark.parametrize(("sections", "left"), [({}, ["2_2", "2_3"]), (CROSSING, ["2_2", "2_3", "2_4", "2_5"])])
def test_an_interrupted_run_continues_with_the_same_bits(tiny_config, sections, left):
    undisturbed = miha.optimize(tiny_config("undisturbed", **sections))

    with observed_by(cutting(StageStarted, "2_2")), pytest.raises(KeyboardInterrupt):
        miha.optimize(tiny_config(**sections))
    run, events = watch(tiny_config(**sections))
    assert trained(events) == [*left, "2", "final"]
    crossed = pd.read_csv(run.run_dir / "population.csv").crossed.any()
    assert crossed == (sections is CROSSING)
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


def test_the_unchanged_baseline_trains_as_many_epochs_without_a_population(tiny_config):
    run = miha.optimize(tiny_config(unchanged=True))
    assert run.history.candidate.isna().all()
    assert run.history.epoch.tolist() == list(range(tiny_config().schedule.budget + 1))
    assert run.history.optimizer.unique().tolist() == ["Adam"]


def test_configuration_and_provenance_say_what_was_run(tiny_config):
    run = miha.optimize(tiny_config(seed=4))
    config = json.loads((run.run_dir / "config.json").read_text())
    assert config["seed"] == 4
    assert config["problem"]["points"] == 70
    assert str(run.run_dir) not in (run.run_dir / "config.json").read_text()
    provenance = json.loads((run.run_dir / "provenance.json").read_text())
    assert {"miha", "git_revision", "data_digest", "configuration", "libraries", "device", "host", "finished"} <= set(
        provenance
    )


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
