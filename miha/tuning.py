"""``miha.tune``: a network, two data sets and a loss are enough."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from miha.config import RunConfig, Schedule, make_config, validated
from miha.config_files import merge
from miha.errors import ConfigError
from miha.evolution.hyperparameter import Section
from miha.evolution.hyperparameters.batch_size import BatchSize
from miha.experiment import Experiment
from miha.problems.assembled import Assembled, Parts
from miha.problems.dataset import Source
from miha.problems.trial import try_out
from miha.report.display import plain_console
from miha.report.watching import watched
from miha.run import IN_THIS_PROCESS, Run, optimize
from miha.rundir import RunDirectory
from miha.script import refuse_import, refuse_unguarded
from miha.wording import meant

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

POPULATION = Schedule().population_size
SEARCH = {"experience": True}
FITNESS = {"noise": 0.0}  # few epochs tell little beyond noise, and soups make up for what is chosen by luck


class _Given(Section):
    """What ``miha.tune`` is given beside data sets and what the sections of a run check."""

    build: Callable[..., Any]
    loss: Callable[..., Any]
    metric: Callable[..., Any] | None
    epochs: int
    target: str
    losses: tuple[str, ...]
    max_gradient_norm: float | None = Field(gt=0)
    largest_piece: int | None = Field(ge=1)
    show: bool
    tensorboard: Path | None
    mlflow: Path | None


def tune(
    *,
    build: "Callable[[], nn.Module]",
    train: "Dataset[Any] | DataLoader[Any]",
    valid: "Dataset[Any] | DataLoader[Any]",
    loss: Callable[[Any, Any], Any],
    metric: Callable[[Any, Any], Any] | None = None,
    epochs: int = 176,
    patience: int | None = None,
    max_seconds: float | None = None,
    run_dir: Path | str = "runs/tune",
    target: str = "target",
    losses: Sequence[str] = (),
    max_gradient_norm: float | None = None,
    largest_piece: int | None = None,
    show: bool = True,
    tensorboard: Path | str | None = None,
    mlflow: Path | str | None = None,
    **settings: Any,
) -> Run:
    """Train a network once, adapting its hyperparameters on the way; the same call continues an interrupted run.

    Candidates train in processes of their own, which get functions and data sets by cloudpickle: they may be defined in
    a script or a notebook. A script calls this under ``if __name__ == "__main__":``.

    Args:
        build: gives the network with fresh weights, drawn from PyTorch's current generator.
        train: map-style, of samples (input, …, target) or dictionaries; a DataLoader adds its collate function, its
            batch size to start with, and its processes. Order and batches are MIHA's own. Of whatever is random in
            reading a sample (``torch``, ``random``, ``numpy.random``), the seed and the epoch decide.
        valid: the same for validation.
        loss: of output and target, the mean over a batch; training minimises it, and candidates are judged by it.
        metric: of output and target, the mean over a batch; shown and kept, decides nothing.
        epochs: of the whole run, those of all candidates counted; 7 or more.
        patience: end the search once the mainline has had no lower validation loss for so many epochs; final training
            follows. At least those that a cycle adds to the mainline.
        max_seconds: end the search once it has trained for so long; final training follows.
        run_dir: folder of the run.
        target: key of the target where samples are dictionaries; all others go to the network by name.
        losses: names in ``miha.evolution.losses`` that training may minimise instead, the first to start with.
        max_gradient_norm: a longer gradient is shortened to it.
        largest_piece: samples that memory holds; of larger batches the gradient is summed up piece by piece.
        show: tell of the progress.
        tensorboard: folder for the curves, to look at in TensorBoard.
        mlflow: folder for ``mlflow.db``, to look at in MLflow.
        settings: other keys of :class:`miha.RunConfig`, e.g. ``seed=1``, ``start={"optimizer": "AdamW"}``,
            ``run={"workers": 1}``, ``unchanged=True`` for the baseline that changes nothing. Keys of ``schedule``
            change the one that is made of ``epochs``. None stands for the default.

    Raises:
        ConfigError: a wrong setting, or a function that does not do its part.
        DataError: data that cannot be used, or cannot be given to other processes.
        MihaError: as :func:`miha.optimize`.
    """
    refuse_import("miha.tune")
    if own := {"problem", "schedule"} & set(settings):
        raise ConfigError(
            f"miha.tune makes {' and '.join(sorted(own))} itself. For others: miha.optimize(miha.RunConfig(…))."
        )
    for key in set(settings) - set(RunConfig.model_fields):
        known = {*RunConfig.model_fields, *inspect.signature(tune).parameters}
        raise ConfigError(f"{key}: no such key{meant(key, known)}")
    given = validated(
        _Given,
        {
            "build": build,
            "loss": loss,
            "metric": metric,
            "epochs": epochs,
            "target": target,
            "losses": losses,
            "max_gradient_norm": max_gradient_norm,
            "largest_piece": largest_piece,
            "show": show,
            "tensorboard": tensorboard,
            "mlflow": mlflow,
        },
    )
    training, validation = Source.of("train", train, given.target), Source.of("valid", valid, given.target)
    parts = Parts(build, training, validation, loss, metric)
    of_problem: dict[str, Any] = {
        "metric": _name(metric),
        "losses_offered": given.losses,
        "gradient_norm": given.max_gradient_norm,
        "piece": given.largest_piece,
    }
    schedule = {**split(given.epochs).model_dump(), "patience": patience, "max_seconds": max_seconds}
    content: dict[str, Any] = {"run_dir": run_dir, "schedule": schedule, "fitness": FITNESS, "search": SEARCH}
    if isinstance(size := getattr(train, "batch_size", None), int):
        low, high, *_ = BatchSize.limits["batch_size"]
        content["start"] = {"batch_size": size}
        content["search"] = {**SEARCH, "min_batch_size": min(size, low), "max_batch_size": max(size, high)}
    content = merge(content, {key: value for key, value in settings.items() if value is not None})
    unread = {"name": "miha.problems.assembled:Assembled", "identity": "", **of_problem}
    config = make_config({**content, "problem": unread})  # a mistake is reported before data are read
    if config.run.workers != 1:
        refuse_unguarded("miha.tune", IN_THIS_PROCESS)
    swaps = any(config.search.operators.get(name, 0) > 0 for name in ("activation", "neuron_activation"))
    directory = RunDirectory(config.run_dir)
    with directory.held(), Assembled.saved(parts, directory.path, **of_problem) as problem:
        try_out(problem, activations_may_change=swaps)
        chosen = config.model_copy(update={"problem": problem})
        Experiment(chosen).check()
    with watched(plain_console() if given.show else None, given.tensorboard, given.mlflow):
        return optimize(chosen)


def _name(metric: Callable[[Any, Any], Any] | None) -> str:
    """What to call a metric in tables: the name of its function or class."""
    if metric is None:
        return "loss"
    name = getattr(metric, "__name__", type(metric).__name__)
    return name if name.isidentifier() else "metric"


def split(epochs: int) -> Schedule:
    """A schedule of exactly so many epochs, all candidates counted.

    At least a quarter is for final training; a candidate trains a twentieth, at most ten epochs. So few tell most by
    weights that are averaged over a third of them, of candidates that see orders of their own and may be averaged
    themselves (docs/results.md).

    Raises:
        ConfigError: fewer than one cycle of four candidates needs.
    """
    least = POPULATION + 3
    if epochs < least:
        raise ConfigError(f"epochs is {epochs}, but one cycle of {POPULATION} candidates needs {least} or more.")
    candidate = min(10, max(1, epochs // 20))
    fixing = max(1, 2 * candidate // 3)
    cycle = POPULATION * candidate + fixing
    cycles = max(1, (3 * epochs // 4 - candidate) // cycle)
    return Schedule(
        initial_epochs=candidate,
        cycles=cycles,
        candidate_epochs=candidate,
        fixing_epochs=fixing,
        final_epochs=epochs - candidate - cycles * cycle,
        averaging=candidate / 3,
        soups=True,
        own_orders=True,
    )
