"""The optimizer, with a learning rate and other settings of its own."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import AfterValidator, Field, model_validator
from torch import Tensor

from miha.evolution.change import Child
from miha.evolution.hyperparameter import Hyperparameter, Offer, Section, State

if TYPE_CHECKING:
    from miha.evolution.point import Hyperparameters, SearchSpace


@dataclass(frozen=True)
class OptimizerKind:
    """What MIHA knows of one class of ``torch.optim``; numbers are those it starts with by default.

    Attributes:
        lr: learning rate.
        adam_like: keeps Adam's first and second moment, which a relative can take over.
        weight_decay: decay of the weights.
        decoupled: decays the weights themselves, not through the gradient (Loshchilov and Hutter 2019, algorithm 2).
        momentum: decay of the running mean (SGD: sum) of gradients, Adam's beta1; None if it keeps none.
        beta2: decay of the running mean of squared gradients: RMSprop's alpha, Adadelta's rho; None if it keeps none.
        momentum_argument: what PyTorch calls the one of these two that it has; Adam's relatives have both, as betas.
        fused: PyTorch 2.13 has a fused step for it on the CPU.
    """

    lr: float
    adam_like: bool = False
    weight_decay: float = 0.0
    decoupled: bool = False
    momentum: float | None = None
    beta2: float | None = None
    momentum_argument: str | None = None
    fused: bool = False

    @property
    def own(self) -> dict[str, float | None]:
        """The hyperparameters that each optimizer has its own defaults of."""
        return {"lr": self.lr, "weight_decay": self.weight_decay, "momentum": self.momentum, "beta2": self.beta2}


_ADAM = {"adam_like": True, "momentum": 0.9, "beta2": 0.999}
OPTIMIZERS: dict[str, OptimizerKind] = {  # without another source: defaults of torch.optim (PyTorch 2.13)
    "SGD": OptimizerKind(  # Goodfellow et al. 2016, Deep Learning, section 8.3
        1e-2, momentum=0.9, momentum_argument="momentum", fused=True
    ),
    "Adam": OptimizerKind(1e-3, fused=True, **_ADAM),  # type: ignore[arg-type]  # Kingma and Ba 2015, section 2
    "AdamW": OptimizerKind(1e-3, weight_decay=1e-2, decoupled=True, fused=True, **_ADAM),  # type: ignore[arg-type]
    "NAdam": OptimizerKind(2e-3, **_ADAM),  # type: ignore[arg-type]
    "RAdam": OptimizerKind(1e-3, **_ADAM),  # type: ignore[arg-type]
    "RMSprop": OptimizerKind(1e-3, beta2=0.9, momentum_argument="alpha"),  # Hinton 2012, lecture 6e
    "Adagrad": OptimizerKind(1e-2, fused=True),
    "Adadelta": OptimizerKind(1.0, beta2=0.9, momentum_argument="rho"),
}
_NADAM_MOMENTUM_DECAY = 4e-3  # default of torch.optim.NAdam


def _known(name: str) -> str:
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}; known are {', '.join(OPTIMIZERS)}")
    return name


class Optimizer(Hyperparameter):
    """Every other optimizer, with its own learning rate, weight decay, momentum and beta2.

    Adam's relatives keep all of these, but weight decay only where both decay the weights in the same way; so do
    others.
    """

    name, code = "optimizer", 0

    class Values(Section):
        """Keys of ``start:``."""

        optimizer: Annotated[str, AfterValidator(_known)] = Field("Adam", description=f"one of {', '.join(OPTIMIZERS)}")

        @model_validator(mode="after")
        def _only_what_the_optimizer_has(self) -> "Optimizer.Values":
            for key, value in OPTIMIZERS[self.optimizer].own.items():
                if value is None and getattr(self, key, None) is not None:
                    raise ValueError(f"{self.optimizer} has no {key}, but it is {getattr(self, key)}. Leave it out")
            return self

    def complete(self, values: dict[str, Any]) -> dict[str, Any]:
        """Fill in the optimizer's own learning rate, weight decay, momentum and beta2 where they are left out."""
        default = self.Values.model_fields["optimizer"].default
        kind = OPTIMIZERS.get(str(values.get("optimizer", default)))
        own = kind.own if kind else {}
        return {**values, **{key: value for key, value in own.items() if values.get(key) is None}}

    def children(self, parent: "Hyperparameters", space: "SearchSpace", offer: Offer) -> list[Child]:
        before, children = OPTIMIZERS[parent.optimizer], []
        for name, kind in OPTIMIZERS.items():
            if name == parent.optimizer:
                continue
            update: dict[str, Any] = {key: space.clip(key, value) for key, value in kind.own.items()}
            if kind.adam_like and before.adam_like:
                update |= {"lr": parent.lr, "momentum": parent.momentum, "beta2": parent.beta2}
            if kind.decoupled == before.decoupled:
                update["weight_decay"] = parent.weight_decay
            children.append(self.child(parent, "optimizer", parent.optimizer, name, {**update, "optimizer": name}))
        return children

    def differences(self, before: "Hyperparameters", after: "Hyperparameters") -> dict[tuple[str, str], Any]:
        """A change of optimizer counts as one of all that optimizers have their own of.

        A learning rate or a weight decay that suits one is another thing to the next.
        """
        if before.optimizer == after.optimizer:
            return {}
        return {(key, ""): getattr(after, key) for key in ("optimizer", *OPTIMIZERS[after.optimizer].own)}

    def optimizer_arguments(self, point: "Hyperparameters") -> dict[str, Any]:
        return {"fused": True} if OPTIMIZERS[point.optimizer].fused else {}

    def carry(self, state: State, before: "Hyperparameters", after: "Hyperparameters") -> State:
        """Relatives of Adam keep both moments and the step; SGD takes the first moment as its momentum buffer.

        That is scaled from a weighted mean to the sum that SGD keeps. Any other pair starts fresh.
        """
        if before.optimizer == after.optimizer:
            return state
        if not OPTIMIZERS[before.optimizer].adam_like:
            return {}
        if OPTIMIZERS[after.optimizer].adam_like:
            keys = ("step", "exp_avg", "exp_avg_sq")
            kept = {f"{name}/{key}": state[f"{name}/{key}"] for name in parameters_of(state) for key in keys}
            return kept | (nadam_products(state, after.momentum) if after.optimizer == "NAdam" else {})
        if after.optimizer == "SGD":
            # Of a steady gradient g Adam's mean is g, and SGD's sum b = β b + g is g / (1 - β), by its own β.
            scale = 1 - after.momentum
            return {f"{name}/momentum_buffer": state[f"{name}/exp_avg"] / scale for name in parameters_of(state)}
        return {}


def parameters_of(state: Iterable[str]) -> list[str]:
    """Names of the parameters that an optimizer keeps state of."""
    return sorted({key.rpartition("/")[0] for key in state})


def nadam_products(state: State, beta1: float) -> State:
    """NAdam's products of its momentum schedule over the steps done (Dozat 2016; ``torch.optim.NAdam``)."""
    return {f"{name}/mu_product": _product(state[f"{name}/step"], beta1) for name in parameters_of(state)}


def _product(step: Tensor, beta1: float) -> Tensor:
    steps = torch.arange(1, int(step.item()) + 1, dtype=torch.float64)
    schedule = beta1 * (1 - 0.5 * 0.96 ** (steps * _NADAM_MOMENTUM_DECAY))
    return schedule.prod().to(torch.float32)
