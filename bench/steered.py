"""A training whose hyperparameters another tuner sets, on the samples, network and epoch loop of a run of MIHA."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from miha import RunConfig
from miha.evolution.hyperparameters.optimizer import OPTIMIZERS
from miha.evolution.point import Hyperparameters
from miha.evolution.seeds import torch_seed
from miha.plan import Plan
from miha.problems.evaluation import configure
from miha.records.archive import read_archive
from miha.records.record import Epoch
from miha.training.archives import save
from miha.training.loop import Span, Trainer, seeded
from miha.training.optimizers import build_optimizer, carry_state, restore_state, state_of


class Range(NamedTuple):
    """What a number may be."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


@dataclass(frozen=True)
class Space:
    """What may change in a run of MIHA, but for beta2: a setting has a value for each of the keys.

    Attributes:
        start: where the run begins.
        numbers: ranges; ``lr`` is a factor of the start's, or of what is usual with another optimizer.
        choices: names; of an activation the key is the layer's.
    """

    start: Hyperparameters
    numbers: dict[str, Range]
    choices: dict[str, list[str]]

    @classmethod
    def of(cls, config: RunConfig) -> "Space":
        """The space of a run: what its operators may change, and its network has."""
        plan = Plan.of(config)
        start, offer = plan.start, plan.offer
        operators = {name for name, weight in config.search.operators.items() if weight}
        numbers = {
            "lr": Range(0.03, 30.0, log=True),
            "weight_decay": Range(1e-6, 0.1, log=True),
            "momentum": Range(0.5, 0.99),
            "batch_size": Range(max(4, start.batch_size // 8), min(200, 4 * start.batch_size), log=True, whole=True),
        }
        numbers |= {"dropout": Range(0.0, 0.5)} if offer.dropouts else {}
        numbers |= {"augmentation": Range(0.0, 1.0)} if offer.augmentation else {}
        choices = {"optimizer": list(OPTIMIZERS)} if "optimizer" in operators else {}
        choices |= {"loss": list(offer.losses)} if "loss" in operators and offer.losses else {}
        choices |= {layer: list(names) for layer, names in offer.layers.items()} if "activation" in operators else {}
        return cls(start, {key: one for key, one in numbers.items() if key in operators}, choices)

    def beginning(self, **changed: float) -> dict[str, Any]:
        """The setting that the run begins with, but for what is ``changed``; every number in its range."""
        values = {**self.start.model_dump(), **self.start.activations, "lr": 1.0, **changed}
        found = {
            key: min(max(values[key] or 0, one.low), one.high) if key in values else one.low
            for key, one in self.numbers.items()
        }
        return {**found, **{key: values[key] for key in self.choices}}

    def point(self, setting: Mapping[str, Any]) -> Hyperparameters:
        """The hyperparameters of a setting, its numbers put into their ranges; what it lacks is the start's."""
        optimizer = setting.get("optimizer", self.start.optimizer)
        kind, same = OPTIMIZERS[optimizer], optimizer == self.start.optimizer
        values = self.start.model_dump(exclude=None if same else {"lr", "weight_decay", "momentum", "beta2"})
        for key, one in self.numbers.items():
            if key in setting:
                value = min(max(setting[key], one.low), one.high)
                values[key] = round(value) if one.whole else value
        usual = self.start.lr if same else kind.lr
        values |= {"optimizer": optimizer, "lr": usual * values["lr"] if "lr" in setting else usual}
        if kind.momentum is None:
            values["momentum"] = None
        values["loss"] = setting.get("loss", self.start.loss)
        values["activations"] = {layer: setting.get(layer, name) for layer, name in self.start.activations.items()}
        return Hyperparameters.model_validate(values)


class Steered:
    """A network in training, on one core.

    Args:
        config: of the run whose samples, network and seed it has.
        point: hyperparameters to begin with.
        draw: number of the weights that are drawn.
    """

    def __init__(self, config: RunConfig, point: Hyperparameters, draw: int) -> None:
        self.plan, self.seed, self.point = Plan.of(config), config.seed, point
        problem, cache = self.plan.config.problem, Path(self.plan.problem.cache)
        problem.prepare(cache, self.seed, lambda function, items: [function(item) for item in items])
        self.opened, self.epochs = self.plan.problem.opened(self.seed), list[Epoch]()
        with seeded(torch_seed(self.seed, "weights", draw)):
            self.network = self.opened.problem.build_network()
        configure(self.network, point)
        self.optimizer = build_optimizer(self.network, point)

    def turn(self, point: Hyperparameters) -> None:
        """Go on with other hyperparameters; the optimizer's state is carried over as MIHA does."""
        state = carry_state(state_of(self.network, self.optimizer), self.point, point)
        self.point = point
        configure(self.network, point)
        self.optimizer = build_optimizer(self.network, point)
        restore_state(self.network, self.optimizer, state)

    def train(self, span: Span) -> Iterator[Epoch]:
        """Train what is left of a span of epochs, and yield after each."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.point.lr
        opened, compute = self.opened, self.plan.compute
        trainer = Trainer(self.network, self.optimizer, opened.problem, opened.data, self.point, self.seed, compute)
        for epoch in trainer.epochs(span, done=len(self.epochs) + 1 - span.first):
            self.epochs.append(epoch)
            yield epoch

    def save(self, path: Path) -> None:
        """Write the archive of the network as it is."""
        spec = self.plan.base().model_copy(update={"hyperparameters": self.point})
        state = state_of(self.network, self.optimizer)
        save(path, spec, self.opened, self.epochs, self.network.state_dict(), state)

    def restore(self, path: Path) -> None:
        """Go on from an archive, with the hyperparameters of now."""
        archive, now = read_archive(path), self.point
        self.network.load_state_dict(archive.weights)
        self.epochs, self.point = list(archive.manifest.record.epochs), archive.manifest.record.hyperparameters
        self.optimizer = build_optimizer(self.network, self.point)
        restore_state(self.network, self.optimizer, archive.optimizer_state)
        self.turn(now)
