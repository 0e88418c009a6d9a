"""Ray Tune's population based training (Jaderberg et al. 2017) and PB2 (Parker-Holder et al. 2020), on a run of MIHA.

They search the numbers of our space, and start from the run's optimizer, loss and activations.
"""

import math
import os
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import numpy as np
import ray
import torch
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler
from ray.tune.schedulers.pb2 import PB2
from ray.tune.search import BasicVariantGenerator

from bench.results import ROOT, Result
from bench.steered import Range, Space, Steered
from miha import RunConfig
from miha.training.loop import Span

MEMBERS = 4
INTERVAL = 4  # epochs between two exchanges
NEAR = {  # where the first members are drawn from, if not anywhere
    "lr": Range(0.2, 5.0, log=True),
    "weight_decay": Range(1e-6, 1e-3, log=True),
    "momentum": Range(0.8, 0.95),
}
Kind = Literal["pbt", "pb2"]


class Member(tune.Trainable):
    """One member of the population; a step is an epoch."""

    def setup(self, config: dict[str, Any], run: RunConfig, kind: Kind, epochs: int, annealed: int) -> None:
        torch.set_num_threads(1)
        self.run, self.kind, self.last, self.annealed = run, kind, epochs, annealed
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin anew: what another member leaves is given by its checkpoint alone."""
        space = Space.of(self.run)
        logs = [key for key, one in space.numbers.items() if one.log and self.kind == "pb2"]
        point = space.point({**new_config, **{key: math.exp(new_config[key]) for key in logs}})
        self.training = Steered(self.run, point, new_config["draw"])
        return True

    def step(self) -> Result:
        number, start = self.iteration + 1, max(1, self.last - self.annealed + 1)
        span = Span(start, self.last, annealing=True) if number >= start else Span(number, number)
        loss = next(self.training.train(span)).valid_loss
        return {"loss": 1e9 if loss is None else loss, "done": number >= self.last}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        self.training.save(Path(checkpoint_dir) / "member.zip")

    def load_checkpoint(self, checkpoint: str) -> None:
        self.training.restore(Path(checkpoint) / "member.zip")


def search(config: RunConfig, model: Path, annealed: int, kind: Kind = "pbt") -> Result:
    """Train a population, a run's budget of epochs shared out among its members; the best at the end is kept.

    Args:
        config: of the run; its seed is that of the first draw, the weights and the order of samples.
        model: where the archive of the best is written.
        annealed: how many epochs of the budget, at the end, let the learning rate fall to zero.
        kind: exchanges by perturbation, or by a bandit with a Gaussian process (``pb2``).
    """
    problem = config.problem.model_copy(update={"data": config.problem.data.absolute()})  # members work elsewhere
    config = config.model_copy(update={"problem": problem, "run_dir": config.run_dir.absolute()})
    epochs = config.budget // MEMBERS
    random.seed(config.seed)
    np.random.seed(config.seed)
    started = time.perf_counter()
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}},
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            results = _tuner(config, kind, epochs, max(1, annealed // MEMBERS), folder).fit()
            if results.errors:
                raise results.errors[0]
            best = results.get_best_result("loss", "min", scope="last")
            assert best.checkpoint is not None
            assert best.metrics is not None
            with best.checkpoint.as_directory() as kept:
                shutil.copyfile(Path(kept) / "member.zip", model)
            spent = sum(int(result.metrics["training_iteration"]) for result in results if result.metrics)
    finally:
        ray.shutdown()
    return {"valid_loss": best.metrics["loss"], "epochs": spent, "seconds": time.perf_counter() - started}


def _tuner(config: RunConfig, kind: Kind, epochs: int, annealed: int, folder: str) -> tune.Tuner:
    numbers = Space.of(config).numbers
    drawn = {key: _domain(NEAR.get(key, one), kind) for key, one in numbers.items()}
    return tune.Tuner(
        tune.with_resources(
            tune.with_parameters(Member, run=config, kind=kind, epochs=epochs, annealed=annealed), {"cpu": 2 / MEMBERS}
        ),
        param_space={**drawn, "draw": tune.randint(0, 2**31)},
        tune_config=tune.TuneConfig(
            scheduler=_scheduler(numbers, drawn, kind),
            num_samples=MEMBERS,
            search_alg=BasicVariantGenerator(random_state=config.seed),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=folder, verbose=0, checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True)
        ),
    )


def _domain(one: Range, kind: Kind) -> Any:
    """Where a number of the first members is drawn from; PB2 knows linear scales alone."""
    if kind == "pb2":
        return tune.uniform(*_bounds(one))
    return tune.loguniform(one.low, one.high) if one.log else tune.uniform(one.low, one.high)


def _bounds(one: Range) -> list[float]:
    return [math.log(one.low), math.log(one.high)] if one.log else [one.low, one.high]


def _scheduler(numbers: dict[str, Range], drawn: dict[str, Any], kind: Kind) -> TrialScheduler:
    common: Any = {
        "time_attr": "training_iteration",
        "metric": "loss",
        "mode": "min",
        "perturbation_interval": INTERVAL,
        "synch": True,  # a small training may else end before another member has begun
    }
    if kind == "pb2":
        return PB2(**common, hyperparam_bounds={key: _bounds(one) for key, one in numbers.items()})
    return PopulationBasedTraining(**common, hyperparam_mutations=drawn)
