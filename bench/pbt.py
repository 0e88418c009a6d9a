"""Ray Tune's population based training (Jaderberg et al. 2017) on the digits: the continuous part of our space."""

import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import numpy as np
import ray
import torch
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining
from ray.tune.search import BasicVariantGenerator

from bench.optuna_search import SmoothedDigits, accuracies
from bench.results import ROOT, Result
from bench.runs import DIGITS_BATCH
from miha import Mnist
from miha.evolution.point import Hyperparameters
from miha.evolution.seeds import torch_seed
from miha.problems.evaluation import configure
from miha.training.compute import Compute
from miha.training.loop import Span, Trainer, seeded
from miha.training.optimizers import build_optimizer, carry_state, restore_state, state_of

MEMBERS = 4
INTERVAL = 4  # epochs between two exchanges
SPACE: dict[str, Any] = {
    "lr": tune.loguniform(2e-4, 5e-3),
    "weight_decay": tune.loguniform(1e-6, 1e-3),
    "momentum": tune.uniform(0.8, 0.95),
    "smoothing": tune.uniform(0.0, 0.2),
    "dropout": tune.uniform(0.0, 0.5),
    "augmentation": tune.uniform(0.0, 1.0),
}
_BOUNDS = {"momentum": 0.99, "smoothing": 0.5, "dropout": 0.9, "augmentation": 1.0}


def _within_bounds(config: dict[str, Any]) -> dict[str, Any]:
    """What Ray multiplied by 1.2 may have left the space."""
    return {key: min(value, _BOUNDS.get(key, value)) for key, value in config.items()}


class Member(tune.Trainable):
    """One member of the population; a step is an epoch of Adam on the article's network."""

    def setup(self, config: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        self.data = Mnist(data=Path(config["data"]), samples=config["samples"]).load(Path(), config["seed"])
        with seeded(torch_seed(config["seed"], "weights", config["draw"])):
            self.network = Mnist().build_network()
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.config = new_config
        self.problem = SmoothedDigits(smoothing=new_config["smoothing"])
        values = {key: new_config[key] for key in ("lr", "weight_decay", "momentum", "dropout", "augmentation")}
        self.point = Hyperparameters(
            optimizer="Adam", batch_size=DIGITS_BATCH, activations={}, loss="cross_entropy", **values
        )
        configure(self.network, self.point)
        self.optimizer = build_optimizer(self.network, self.point)
        return True

    def step(self) -> Result:
        number, last = self.iteration + 1, self.config["epochs"]
        start = max(1, last - self.config["annealed"] + 1)
        span = Span(start, last, annealing=True) if number >= start else Span(number, number)
        seed = self.config["seed"]
        trainer = Trainer(self.network, self.optimizer, self.problem, self.data, self.point, seed, Compute())
        loss = next(trainer.epochs(span, done=number - span.first)).valid_loss
        for group in self.optimizer.param_groups:
            group["lr"] = self.point.lr
        return {"loss": float("inf") if loss is None else loss, "done": number >= last}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        state = {"weights": self.network.state_dict(), "optimizer": state_of(self.network, self.optimizer)}
        torch.save({**state, "point": self.point.model_dump()}, Path(checkpoint_dir) / "state.pt")

    def load_checkpoint(self, checkpoint: str) -> None:
        saved = torch.load(Path(checkpoint) / "state.pt")
        self.network.load_state_dict(saved["weights"])
        before = Hyperparameters.model_validate(saved["point"])
        restore_state(self.network, self.optimizer, carry_state(saved["optimizer"], before, self.point))


def search(problem: Mnist, seed: int, budget: int, annealed: int) -> Result:
    """Train a population, the budget of epochs shared out among its members, and test the best at the end.

    Args:
        problem: the digits.
        seed: of the first draw, the weights and the order of samples.
        budget: epochs of all members together.
        annealed: how many of these at the end let the learning rate fall to zero.
    """
    epochs = budget // MEMBERS
    random.seed(seed)
    np.random.seed(seed)
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
            results = _tuner(problem, seed, epochs, max(1, annealed // MEMBERS), folder).fit()
            best = results.get_best_result("loss", "min", scope="last")
            assert best.checkpoint is not None
            assert best.config is not None
            with best.checkpoint.as_directory() as kept:
                weights = torch.load(Path(kept) / "state.pt")["weights"]
            spent = sum(int(result.metrics["training_iteration"]) for result in results if result.metrics)
    finally:
        ray.shutdown()
    seconds = time.perf_counter() - started
    network = problem.build_network()
    network.load_state_dict(weights)
    found = {key: best.config[key] for key in SPACE}
    return {**accuracies(network, problem.test()), "epochs": spent, "seconds": seconds, "best": found}


def _tuner(problem: Mnist, seed: int, epochs: int, annealed: int, folder: str) -> tune.Tuner:
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        metric="loss",
        mode="min",
        perturbation_interval=INTERVAL,
        hyperparam_mutations=SPACE,
        custom_explore_fn=_within_bounds,
    )
    given = {"data": str(problem.data.absolute()), "samples": problem.samples, "seed": seed}
    given |= {"epochs": epochs, "annealed": annealed}
    return tune.Tuner(
        tune.with_resources(Member, {"cpu": 2 / MEMBERS}),
        param_space={**SPACE, **given, "draw": tune.randint(0, 2**31)},
        tune_config=tune.TuneConfig(
            scheduler=scheduler,
            num_samples=MEMBERS,
            search_alg=BasicVariantGenerator(random_state=seed),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=folder, verbose=0, checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=True)
        ),
    )
