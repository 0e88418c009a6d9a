"""Every fault in every stage, on the bare library. The table in docs/faults.md is made of the cases below."""

import multiprocessing
import signal
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest

import miha
from miha.config import make_config
from miha.errors import MihaError
from miha.events import EpochEnded, observed_by
from tests.support import faults
from tests.support.runs import contents, of_kind, trained, watch
from tests.support.tiny import TinyProblem

STAGES = {"base": "base", "initial": "init", "candidate": "1_2", "selection": "", "fixing": "1", "final": "final"}
SAME = "tried again"
RECORDED = "recorded"
STOPS = "stops, continues"
TOO_HIGH = "stops"
NEVER = "–"


class Row(NamedTuple):
    """What a fault does in the base, the initial training, a candidate, the selection, fixing and final training."""

    fault: str
    how: str  # name in faults.FAULTS
    times: int
    outcomes: tuple[str, str, str, str, str, str]
    processes: bool = False  # happens in a process of its own


TABLE = [
    Row("an error that may pass", "raises", 1, (SAME, SAME, SAME, NEVER, SAME, SAME)),
    Row("the same error each time", "raises", faults.ALWAYS, (STOPS, STOPS, RECORDED, NEVER, STOPS, STOPS)),
    Row(
        "a mistake in the set-up", "says it is a mistake", faults.ALWAYS, (STOPS, STOPS, RECORDED, NEVER, STOPS, STOPS)
    ),
    Row("its process is killed", "process killed", 1, (SAME, SAME, SAME, NEVER, SAME, SAME), True),
    Row(
        "its process is killed each time",
        "process killed",
        faults.ALWAYS,
        (STOPS, STOPS, RECORDED, NEVER, STOPS, STOPS),
        True,
    ),
    Row(
        "its process is killed while it saves", "killed while it saves", 1, (SAME, SAME, SAME, NEVER, SAME, SAME), True
    ),
    Row("hangs past `faults.timeout`", "hangs", 1, (SAME, SAME, SAME, NEVER, SAME, SAME), True),
    Row("hangs each time", "hangs", faults.ALWAYS, (STOPS, STOPS, RECORDED, NEVER, STOPS, STOPS), True),
    Row("diverges", "diverges", faults.ALWAYS, (TOO_HIGH, TOO_HIGH, RECORDED, NEVER, TOO_HIGH, TOO_HIGH)),
    Row("no room for its archive", "disk nearly full", faults.ALWAYS, (STOPS, STOPS, RECORDED, NEVER, STOPS, STOPS)),
    Row("the disk is full for a while", "disk full", 1, (SAME, SAME, SAME, STOPS, SAME, SAME)),
    Row("the disk stays full", "disk full", faults.ALWAYS, (STOPS,) * 6),
    Row("its parent's archive is damaged", "parent damaged", 1, (NEVER, STOPS, STOPS, NEVER, STOPS, STOPS)),
    Row("the same, between its siblings", "parent damaged late", 1, (NEVER, NEVER, RECORDED, NEVER, NEVER, NEVER)),
    Row("the run is killed (SIGKILL)", "process killed", 1, (STOPS,) * 6),
    Row("the run is told to end (SIGTERM)", "terminated", 1, (STOPS,) * 6),
    Row("the run is interrupted (Ctrl-C)", "interrupted", 1, (STOPS,) * 6),
]


def cases(whole_run: bool) -> list:
    """One test for each cell of the table that can happen; the longest are for `make test-slow`."""
    return [
        pytest.param(
            row,
            stage,
            outcome,
            id=f"{row.fault} in {stage}",
            marks=[pytest.mark.slow] if row.how == "hangs" and stage != "candidate" else [],
        )
        for row in TABLE
        for stage, outcome in zip(STAGES, row.outcomes, strict=True)
        if outcome != NEVER and row.fault.startswith("the run is") == whole_run
    ]


@pytest.fixture(autouse=True)
def _recover():
    yield
    faults.recover()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    run = miha.optimize(configuration(folder / "run"))
    return contents(run.run_dir)


RACED = {
    "candidate_epochs": 4,
    "racing": 2,
    "soups": True,
    "own_orders": True,
    "put_off": True,
    "averaging": 1.0,
}  # soups are numbered after the candidates


@pytest.fixture(scope="module")
def undisturbed_race(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    run = miha.optimize(configuration(tmp_path_factory.mktemp("race") / "run", **RACED))
    return contents(run.run_dir)


def configuration(
    run_dir: Path, fault: Path = Path(), processes: bool = False, hangs: bool = False, **schedule: int | float
):
    return make_config(
        {
            "run_dir": run_dir,
            "problem": TinyProblem(data=fault),
            "schedule": {
                "initial_epochs": 3,
                "cycles": 2,
                "population_size": 4,
                "candidate_epochs": 2,
                "fixing_epochs": 2,
                "final_epochs": 3,
                **schedule,
            },
            "start": {"batch_size": 16},
            "faults": {"retry_delay": 0.0, "retries": 1, "timeout": 5.0 if hangs else None},
            "run": {"workers": 2 if processes else 1, "checkpoint_every": 0},
        }
    )


def plan(row: Row, stage: str, folder: Path, run_dir: Path, undisturbed: dict[str, bytes]) -> None:
    """Put the fault where it can do most harm: in the middle of a stage, or while the decision is written."""
    moment, damage = f"stage started {STAGES[stage]}", None
    if row.how == "parent damaged late":
        moment, damage = "stage ended 1_1", run_dir / "model/model_init.zip"
    elif row.how == "parent damaged":
        selected = next(
            line.split(",")[1]
            for line in undisturbed["population.csv"].decode().splitlines()
            if line.startswith("1,") and line.endswith("True")
        )
        moment, damage = {
            "initial": ("stage ended base", run_dir / "model/model_base.zip"),
            "candidate": ("stage ended init", run_dir / "model/model_init.zip"),
            "fixing": ("selected 1", run_dir / f"population/1_{selected}_model.zip"),
            "final": ("stage ended 2", run_dir / "model/model_2.zip"),
        }[stage]
    elif stage == "selection":
        moment = "stage ended 1_3" if row.how == "disk full" else "selected 1"
    elif row.fault.startswith("the run is") or row.how == "process killed":
        moment = f"epoch ended {STAGES[stage]}"
    faults.plan(folder, row.how, moment, row.times, damage)


@pytest.mark.parametrize(("row", "stage", "outcome"), cases(whole_run=False))
def test_a_fault_in_a_stage(row, stage, outcome, tmp_path, undisturbed):
    config = configuration(tmp_path / "run", tmp_path / "fault", row.processes, row.how == "hangs")
    plan(row, stage, tmp_path / "fault", config.run_dir, undisturbed)
    if outcome in (STOPS, TOO_HIGH):
        with pytest.raises(MihaError) as stopped:
            miha.optimize(config)
        assert faults.happened(tmp_path / "fault")
        faults.over(tmp_path / "fault")
    if outcome == TOO_HIGH:
        assert ("before training" if stage == "base" else "Lower start.lr, and look for NaN in") in str(stopped.value)
        return
    run, events = watch(config)
    assert faults.happened(tmp_path / "fault")
    assert not list(run.run_dir.rglob("*checkpoint*"))
    if outcome == RECORDED:
        population = pd.read_csv(run.run_dir / "population.csv")
        recorded = population[population.status != "ok"]
        late = [number for number in range(4) if f"1_{number}" not in trained(events)]
        numbers = late if row.how == "parent damaged late" else [2]
        assert 0 < len(numbers) < 3
        assert recorded[["cycle", "candidate", "selected"]].values.tolist() == [
            [1, number, False] for number in numbers
        ]
        assert all(status == "diverged" or "failed: " in status for status in recorded.status)
        assert len(population) == 8
    else:
        assert contents(run.run_dir) == undisturbed


def train_and_log(run_dir: Path, folder: Path, **schedule: int | float) -> None:
    """In a process that is to die: train, and write down each epoch that is done."""

    def log(event):
        if isinstance(event, EpochEnded):
            with (folder / "epochs").open("a") as file:
                file.write(f"{event.stage} {event.epoch.epoch}\n")

    signal.signal(signal.SIGINT, signal.default_int_handler)
    with observed_by(log):
        miha.optimize(configuration(run_dir, folder, **schedule))


@pytest.mark.parametrize(("row", "stage", "outcome"), cases(whole_run=True))
def test_a_run_that_dies_continues_and_trains_no_epoch_twice(row, stage, outcome, tmp_path, undisturbed):
    assert outcome == STOPS
    folder, run_dir = tmp_path / "fault", tmp_path / "run"
    plan(row, stage, folder, run_dir, undisturbed)
    process = multiprocessing.get_context("forkserver").Process(target=train_and_log, args=(run_dir, folder))
    process.start()
    process.join(60)
    assert (
        process.exitcode
        == {"process killed": -signal.SIGKILL, "terminated": -signal.SIGTERM, "interrupted": 1}[row.how]
    )
    assert faults.happened(folder) == 1
    faults.over(folder)
    before = (folder / "epochs").read_text().splitlines()
    run, events = watch(configuration(run_dir, folder))
    after = [f"{event.stage} {event.epoch.epoch}" for event in of_kind(events, EpochEnded)]
    before, after = ([epoch for epoch in epochs if epoch != "base 0"] for epochs in (before, after))  # trains nothing
    assert len({*before, *after}) == len(before) + len(after) == len(run.history) - 1
    assert contents(run_dir) == undisturbed


@pytest.mark.parametrize("moment", ["epoch ended 1_1_heat", "epoch ended 1_0", "stage started 1_4", "stage ended 1_4"])
def test_a_run_with_a_race_a_soup_and_averaging_that_dies_continues_and_trains_no_epoch_twice(
    moment, tmp_path, undisturbed_race
):
    folder, run_dir = tmp_path / "fault", tmp_path / "run"
    faults.plan(folder, "process killed", moment)
    process = multiprocessing.get_context("forkserver").Process(
        target=train_and_log, args=(run_dir, folder), kwargs=RACED
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    faults.over(folder)
    before = (folder / "epochs").read_text().splitlines()
    run, events = watch(configuration(run_dir, folder, **RACED))
    after = [f"{event.stage} {event.epoch.epoch}" for event in of_kind(events, EpochEnded)]
    assert not {*before} & {*after}
    assert len(before) + len(after) == 1 + configuration(run_dir, **RACED).budget
    assert contents(run.run_dir) == undisturbed_race


@pytest.mark.parametrize("fault", ["raises", "process killed"])
def test_a_soup_that_fails_once_is_made_again_and_one_that_fails_for_good_is_recorded(
    fault, tmp_path, undisturbed_race
):
    for times, name in ((1, "once"), (faults.ALWAYS, "always")):
        faults.plan(tmp_path / f"fault {name}", fault, "stage started 1_4", times)
        run = miha.optimize(
            configuration(tmp_path / name, tmp_path / f"fault {name}", fault == "process killed", **RACED)
        )
        assert faults.happened(tmp_path / f"fault {name}") > 0
        status = pd.read_csv(run.run_dir / "population.csv").status[4]
        assert status.startswith("ok" if times == 1 else "failed: ")
        assert (contents(run.run_dir) == undisturbed_race) == (times == 1)


def test_a_run_that_was_stopped_by_too_few_survivors_says_what_happened_to_each(tmp_path):
    faults.plan(tmp_path / "fault", "parent damaged", "stage ended init", damage=tmp_path / "run/model/model_init.zip")
    with pytest.raises(
        MihaError, match=r"0 candidates of cycle 1 survived.*0 \(unchanged\) failed: ArchiveError.*3 \("
    ):
        miha.optimize(configuration(tmp_path / "run", tmp_path / "fault"))


def test_a_decision_that_was_altered_is_named_and_not_taken(tmp_path):
    run = miha.optimize(configuration(tmp_path / "run"))
    file = run.run_dir / "population/1_selection.json"
    file.write_text(file.read_text()[:50])
    with pytest.raises(MihaError, match=r"1_selection\.json is damaged.*Remove it"):
        miha.optimize(configuration(tmp_path / "run"))
    file.unlink()
    _, events = watch(configuration(tmp_path / "run"))
    assert trained(events) == []


def table() -> str:
    """The cases as Markdown, for docs/faults.md."""
    lines = ["| what happens | " + " | ".join(STAGES) + " |", "| --- " * (len(STAGES) + 1) + "|"]
    return "\n".join([*lines, *(f"| {row.fault} | {' | '.join(row.outcomes)} |" for row in TABLE)])


def test_the_documentation_shows_these_cases():
    page = (Path(__file__).parents[1] / "docs/faults.md").read_text()
    assert table() in page, f"docs/faults.md should hold:\n{table()}"
