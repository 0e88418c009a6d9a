"""A run that trains along the schedule another one found, on other data or with another seed."""

from pathlib import Path

from miha.config import RunConfig, make_config
from miha.errors import ConfigError
from miha.evolution.steps import FILE, legs_of, read_steps
from miha.records.provenance import read_provenance
from miha.training.spec import offer_of


def replay_config(
    run: Path, run_dir: Path, data: Path | None = None, seed: int | None = None, schedule: Path | None = None
) -> RunConfig:
    """The configuration of a replay: that of a finished run, its population left out.

    The same seed and data give the bits of that run's mainline, unless a soup went on in it or its candidates saw
    orders of their own.

    Args:
        run: directory of the finished run.
        run_dir: of the replay.
        data: folder of its data set; by default that of the run.
        seed: by default that of the run.
        schedule: file to train along; by default the ``schedule.yaml`` of the run.

    Raises:
        RunError: no finished run.
        ConfigError: no schedule, or the directories are the same.
    """
    if run.resolve() == run_dir.resolve():
        raise ConfigError(f"the replay of {run} would be written over it. Choose another --run-dir.")
    provenance = read_provenance(run)
    values = provenance.configuration.model_dump(mode="json")
    values |= {"run_dir": run_dir, "replay": read_steps(schedule or run / FILE), "unchanged": False, "replace": False}
    values["seed"] = values["seed"] if seed is None else seed
    values["problem"] = {**values["problem"], "data": data or provenance.data}
    return make_config(values)


def along(config: RunConfig, schedule: Path) -> RunConfig:
    """A configuration that trains along a schedule, without a population.

    Raises:
        ConfigError: no schedule, or one that the problem or its network has no place for.
    """
    steps = read_steps(schedule)
    legs_of(steps, offer_of(config.problem))
    return config.model_copy(update={"replay": tuple(steps)})
