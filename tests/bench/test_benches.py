"""Benches with next to nothing to do; no figure matters here."""

import functools
import gzip
import importlib
import json

import numpy as np
import pandas as pd
import pytest
import torch

from bench import swaps, tuning, tuning_tasks
from bench.ablations import NAMES, NO_CROSSOVER, PATCHES
from bench.faults import main as faults
from bench.gapfill import FULL, kind_of, run_one, schedule_of, winners
from bench.gapfill import main as gapfill
from bench.growth import exponent
from bench.heldout import without_truth
from bench.loops import NoiseDigits, NoiseScenes, Task, bare_epochs, our_epochs, usual_epochs
from bench.mnist import main as mnist
from bench.overhead import Training, archives, carry_out, many_candidates
from bench.results import Results
from bench.runs import count_parameters, value_of
from bench.speed import Part
from bench.speed import main as speed
from bench.tuners import NEEDS, OPTUNA, PB2, PBT, is_missing
from miha.config import Schedule
from miha.events import observed_by
from miha.evolution.change import Change
from miha.evolution.prior import Tally
from miha.experiment import Experiment


@pytest.fixture
def digits(tmp_path):
    """Noise in the files of the digits."""
    folder, rng = tmp_path / "digits", np.random.default_rng(0)
    folder.mkdir()
    for part, number in (("train", 200), ("t10k", 600)):
        images = rng.integers(0, 256, (number, 28, 28), np.uint8).tobytes()
        labels = rng.integers(0, 10, number, np.uint8).tobytes()
        for kind, magic, shape, content in (
            ("images-idx3", 2051, (number, 28, 28), images),
            ("labels-idx1", 2049, (number,), labels),
        ):
            with gzip.open(folder / f"{part}-{kind}-ubyte.gz", "wb") as stream:
                stream.write(np.array([magic, *shape], ">u4").tobytes() + content)
    return folder


@pytest.mark.parametrize(
    ("module", "columns"), [("optuna", ["Optuna"]), ("ray", ["Ray"]), ("bench", ["all operators", "strong start"])]
)
def test_digits(digits, tmp_path, module, columns):
    pytest.importorskip(module, reason="a peer of the benchmarks: pip install 'miha[bench]'")
    document = tmp_path / "results.md"
    epochs = {"initial_epochs": 1, "cycles": 1, "candidate_epochs": 1, "fixing_epochs": 1}
    epochs |= {"final_epochs": 1, "trial_epochs": 3}
    mnist(seeds=1, data=digits, **epochs, samples=200, only=columns, runs=tmp_path, results=tmp_path, document=document)
    results = json.loads((tmp_path / "mnist.json").read_text())["results"]
    assert {figures["0"]["epochs"] for figures in results.values()} == ({4} if module == "ray" else {7})
    assert {column for column in NEEDS if column in results} == {c for c, need in NEEDS.items() if need == module}
    assert all(column in document.read_text() for column in results)


def test_a_tuner_that_is_not_installed_is_left_out_and_named(monkeypatch, capsys):
    monkeypatch.setattr("bench.tuners.find_spec", lambda name: None if name == "ray" else name)
    assert [is_missing(column) for column in (PBT, OPTUNA, "MIHA")] == [True, False, False]
    assert "since ray is not installed" in capsys.readouterr().out


@pytest.mark.slow
def test_every_column_of_the_small_trainings_has_a_row(digits, simulated, tmp_path, monkeypatch):
    epochs = {"initial_epochs": 1, "cycles": 1, "candidate_epochs": 3, "fixing_epochs": 1, "final_epochs": 1}
    monkeypatch.setattr(tuning_tasks, "SCHEDULE", {**tuning_tasks.SCHEDULE, **epochs})
    document, history = tmp_path / "results.md", without_truth(simulated, tmp_path / "scenes")
    kept = Results("tuning", {}, False, tmp_path, document)
    columns = [column for column in tuning.COLUMNS if not is_missing(column)]
    for column in columns:
        key = tuning.key_of("deceptive", column)
        given = (digits, history, history, tmp_path, Tally(wins={"lr/up": 7}, tries={"lr/up": 10}))
        kept.once(key, 0, lambda column=column, given=given: tuning.run_one("deceptive", column, 0, *given))
    rows = tuning.error_table(kept, "deceptive", tuning_tasks.UNITS["deceptive"]).splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == columns
    spent = {column: kept.results[tuning.key_of("deceptive", column)]["0"]["epochs"] for column in columns}
    others = {spent.pop(column, 12) for column in (PBT, PB2)}
    assert others == {12}, "four members have as many epochs each"
    assert set(spent.values()) == {15, 6}, "but for the replay all have one budget"
    assert spent[tuning.REPLAY] == 6


@pytest.mark.slow
def test_swaps(digits, tmp_path, monkeypatch):
    task = tuning_tasks.tasks(digits, tmp_path, tmp_path)["digits"]
    problem = task.problem().model_copy(update={"samples": 100})
    schedule = {**task.schedule, "initial_epochs": 1, "candidate_epochs": 1}
    small = task._replace(problem=lambda: problem, schedule=schedule)
    monkeypatch.setattr(swaps, "tasks", lambda *_: {"digits": small})
    kept = Results("swaps", {}, False, tmp_path, tmp_path / "results.md")
    kept.once("digits", 0, lambda: swaps.swaps("digits", 0, digits, tmp_path, tmp_path))
    rows = [row.split(" | ") for row in swaps.swap_table(kept).splitlines()[2:]]
    assert [row[0] for row in rows] == [f"| digits: {kind}" for kind in (swaps.AT_ONCE, *swaps.GENTLY, swaps.HALF)]
    assert [row[5] for row in rows] == ["14", "14", "14", "28"]


@pytest.mark.parametrize("name", ["digits", "LeNet", "LSTM"])
def test_the_networks_of_the_small_trainings_tell_ten_classes_apart(digits, simulated, name):
    problem = tuning_tasks.tasks(digits, simulated, simulated)[name].problem()
    output = problem.build_network()(problem.test().tensors.inputs[:3])
    assert output.exp().sum(dim=1).tolist() == pytest.approx([1.0] * 3)


@pytest.mark.slow
def test_scenes(simulated, tmp_path):
    document = tmp_path / "results.md"
    samples = {"train_samples": 6, "valid_samples": 4, "test_samples": 4}
    counts = {"seeds": 1, "unet_seeds": 0, "ablation_seeds": 0, "cycles": 1, "processes": 1}
    gapfill(data=simulated, **samples, **counts, runs=tmp_path, results=tmp_path, document=document)
    rows = [line for line in document.read_text().splitlines() if line.startswith(("| unchanged", "| all operators"))]
    assert len(rows) == 2
    assert not (tmp_path / "scenes" / "truth").exists()


@pytest.fixture(scope="module")
def ablated(simulated, tmp_path_factory):
    """The figures of a run without a part of the design, and its candidates; each is trained once."""
    folder = tmp_path_factory.mktemp("ablations")
    scenes = without_truth(simulated, folder / "scenes")

    @functools.cache
    def run(name):
        result = run_one("ablation", name, 0, scenes, folder / name, 1, (6, 4, 4))
        (file,) = (folder / name).glob("ablation*/population.csv")
        return result, pd.read_csv(file)

    return run


@pytest.mark.parametrize("name", [FULL, *NAMES])
def test_ablations(ablated, name):
    result, population = ablated(name)
    schedule = Schedule(**schedule_of("ablation", 1))
    assert result["epochs"] == schedule.budget
    assert population.operator.isna().any() == (name != "no control child")
    assert len(population) == schedule.population_size


@pytest.mark.parametrize("name", sorted({*NAMES} - {NO_CROSSOVER}))  # whose first cycle has nothing to cross
def test_an_ablation_takes_something_away(ablated, name):
    assert ablated(name)[1].fitness.tolist() != ablated(FULL)[1].fitness.tolist()


def test_ablations_leave_nothing_behind():
    def patched():
        places = ("miha.plan", "generate_population"), ("miha.training.stage", "carry_state")
        places += ("miha.training.stage", "Trainer"), ("miha.run", "run_stage")
        found = [getattr(importlib.import_module(module), name) for module, name in places]
        return [*found, Experiment.select_fittest]

    before = patched()
    for name in PATCHES:
        with PATCHES[name]():
            assert patched() != before
        assert patched() == before


def test_changes_that_won_are_kept_as_values(ablated):
    result, population = ablated("no control child")  # so that a change has to win
    (won,) = result["won"]
    row = population[population.selected].iloc[0]
    assert str(Change(**won)) == row.change
    assert (won["operator"], won["crossed"]) == (row.operator, row.crossed)
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(("text", "value"), [("0.001", 0.001), ("32", 32), ("0.0", 0), ("ReLU", "ReLU"), ("", None)])
def test_a_value_of_a_change_is_a_number_a_name_or_none(text, value):
    assert value_of(text) == value


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({}, "the control"),
        ({"operator": "activation", "target": "layer4.1", "before": "ReLU", "after": "ELU"}, "activation of layer4.1"),
        ({"operator": "batch_size", "target": "batch_size", "before": 32, "after": 16}, "batch size"),
        ({"operator": "momentum", "target": "beta2", "before": 0.999, "after": 0.995}, "momentum"),
    ],
)
def test_the_kind_of_a_change_follows_from_its_operator(change, kind):
    assert kind_of(Change(**change)) == kind


def test_winners_are_counted_crossed_over_or_not(tmp_path):
    faster = Change(operator="lr", target="lr", before=0.001, after=0.005)
    won = [faster, faster.model_copy(update={"crossed": True}), Change()]
    results = Results("gapfill", {}, False, tmp_path, None)
    results.once(f"unet, {FULL}", 0, lambda: {"won": [change.model_dump() for change in won]})
    assert winners(results, "unet") == (
        "Of 3 cycles of the unet with all operators: lr won 2, the control won 1. Most often: lr 0.001→0.005 (2)."
    )


def test_time_of_training_is_measured_by_events(tmp_path):
    training = Training()
    with observed_by(training):
        carry_out("library", many_candidates(tmp_path, 1))
    assert training.done == len(archives(tmp_path)) - 1
    assert training.seconds > 0
    assert not training.stages


def test_parameters_are_counted():
    assert count_parameters(NoiseDigits().build_network()) == 318_010


@pytest.mark.parametrize("loop", [our_epochs, usual_epochs, bare_epochs])
@pytest.mark.parametrize(
    "problem",
    [
        NoiseDigits(train=40, valid=8),
        NoiseScenes(train=4, valid=2, height=16, across=16),
        NoiseScenes(network="autoencoder", train=4, valid=2),
    ],
)
def test_every_loop_trains(loop, problem):
    torch.manual_seed(6)  # with other weights the autoencoder's last ReLU may be dead from the start
    task = Task(problem, 16)
    before = [parameter.clone() for parameter in task.network.parameters()]
    loop(task, 1)
    assert any((a != b).any() for a, b in zip(before, task.network.parameters(), strict=True))


def test_an_exponent_is_the_power_by_which_values_grow():
    assert exponent([1, 2, 4], [3.0, 12.0, 48.0]) == pytest.approx(2.0)


@pytest.mark.slow
def test_loops_are_timed(tmp_path):
    document = tmp_path / "results.md"
    speed(repeats=1, growth_repeats=1, epochs=1, only=[Part.loop], results=tmp_path, document=document)
    rows = [line for line in document.read_text().splitlines() if "our loop" in line]
    assert len(rows) == 4
    assert not any("nan" in row or "inf" in row for row in rows)


@pytest.mark.slow
def test_runs_are_killed_until_they_finish(tmp_path):
    faults(kills=1, out=tmp_path, document=tmp_path / "results.md")
    runs = json.loads((tmp_path / "faults.json").read_text())["results"]["run"].values()
    assert sum(run["whole run"] + run["one worker"] for run in runs) >= 1
    assert all(run["same bits"] for run in runs)
