"""What tests ask of a run: all its files that must not depend on clock, host or path, and the events it published."""

from pathlib import Path

import miha
from miha.events import StageStarted, observed_by
from miha.training.stage import run_stage

DETERMINISTIC = ("config.json", "history.csv", "population.csv", "model/*.zip", "population/*")


def contents(run_dir: Path) -> dict[str, bytes]:
    paths = [path for pattern in DETERMINISTIC for path in run_dir.glob(pattern)]
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in sorted(paths)}


def watch(config):
    """Run a configuration; returns the run and its events."""
    events = []
    with observed_by(events.append):
        run = miha.optimize(config)
    return run, events


def initial_of(plan):
    """The specification of initial training, once its parent is there: the base."""
    return plan.initial(run_stage(plan.base()))


def of_kind(events, *kinds):
    """The events of some classes."""
    return [event for event in events if isinstance(event, kinds)]


def trained(events):
    """Names of the stages that were trained."""
    return [event.stage.name for event in of_kind(events, StageStarted)]


def cutting(kind, stage, error=KeyboardInterrupt):
    """An observer that raises at an event of a stage."""

    def cut(event):
        if isinstance(event, kind) and event.stage.name == stage:
            raise error

    return cut
