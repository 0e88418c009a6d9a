"""What tests ask of a run: all its files that must not depend on clock, host or path, and the events it published."""

from pathlib import Path

import miha
from miha.progress import observed_by

DETERMINISTIC = ("config.json", "history.csv", "population.csv", "model/*.zip", "population/*")


def contents(run_dir: Path) -> dict[str, bytes]:
    paths = [path for pattern in DETERMINISTIC for path in run_dir.glob(pattern)]
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in sorted(paths)}


def watch(problem, config):
    events = []
    with observed_by(events.append):
        run = miha.optimize(problem, config)
    return run, events


def trained(events):
    return [event["stage"] for event in events if event["event"] == "stage_started"]
