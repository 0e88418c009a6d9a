"""A point of the search space, and the registries that say what its names mean. No PyTorch here: names only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


@dataclass(frozen=True)
class OptimizerKind:
    """What MIHA knows of one class of ``torch.optim``; numbers are those it starts with by default.

    Attributes:
        lr: learning rate.
        source: where these numbers come from.
        adam_like: keeps Adam's first and second moment, which a relative can take over.
        weight_decay: decay of the weights.
        decoupled: decays the weights themselves, not through the gradient (Loshchilov and Hutter 2019, algorithm 2).
        momentum: decay of the running mean (SGD: sum) of gradients, Adam's beta1; None if it keeps none.
        beta2: decay of the running mean of squared gradients: RMSprop's alpha, Adadelta's rho; None if it keeps none.
    """

    lr: float
    source: str
    adam_like: bool = False
    weight_decay: float = 0.0
    decoupled: bool = False
    momentum: float | None = None
    beta2: float | None = None

    @property
    def own(self) -> dict[str, float | None]:
        """The hyperparameters that each optimizer has its own defaults of."""
        return {"lr": self.lr, "weight_decay": self.weight_decay, "momentum": self.momentum, "beta2": self.beta2}


_PYTORCH = "defaults of torch.optim (PyTorch 2.13)"
OPTIMIZERS: dict[str, OptimizerKind] = {
    "SGD": OptimizerKind(1e-2, "Goodfellow et al. 2016, Deep Learning, section 8.3", momentum=0.9),
    "Adam": OptimizerKind(1e-3, "Kingma and Ba 2015, section 2", adam_like=True, momentum=0.9, beta2=0.999),
    "AdamW": OptimizerKind(
        1e-3, _PYTORCH, adam_like=True, weight_decay=1e-2, decoupled=True, momentum=0.9, beta2=0.999
    ),
    "NAdam": OptimizerKind(2e-3, _PYTORCH, adam_like=True, momentum=0.9, beta2=0.999),
    "RAdam": OptimizerKind(1e-3, _PYTORCH, adam_like=True, momentum=0.9, beta2=0.999),
    "RMSprop": OptimizerKind(1e-3, "Hinton 2012, lecture 6e", beta2=0.9),
    "Adagrad": OptimizerKind(1e-2, _PYTORCH),
    "Adadelta": OptimizerKind(1.0, _PYTORCH, beta2=0.9),
}

# What they compute is in miha.problems.losses.
REGRESSION_LOSSES = ("mse", "l1", "huber", "log_cosh")
CLASS_LOSSES = ("cross_entropy", "label_smoothing", "focal")

# The article's twelve: nine for any layer and three that normalise over classes, for output layers alone.
ARTICLE_ACTIVATIONS = ("ELU", "Hardshrink", "Hardsigmoid", "Hardtanh", "ReLU", "ReLU6", "SELU", "Sigmoid", "Tanh")
CLASS_ACTIVATIONS = ("LogSoftmax", "Softmax", "Softmin")
HIDDEN_ACTIVATIONS = (*ARTICLE_ACTIVATIONS, "GELU", "SiLU", "LeakyReLU", "Softplus", "Mish", "Identity")
SIGNED_ACTIVATIONS = ("Identity", "ELU", "Hardshrink", "LeakyReLU", "Mish", "SELU")  # and without an upper bound
ACTIVATIONS = (*HIDDEN_ACTIVATIONS, *CLASS_ACTIVATIONS)


def _known_optimizer(name: str) -> str:
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}; known are {', '.join(OPTIMIZERS)}")
    return name


def _known_activation(name: str) -> str:
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; known are {', '.join(ACTIVATIONS)}")
    return name


OptimizerName = Annotated[str, AfterValidator(_known_optimizer)]
ActivationName = Annotated[str, AfterValidator(_known_activation)]
Layers = Mapping[str, tuple[str, ...]]  # module path of an activation → names it may take


@dataclass(frozen=True)
class Offer:
    """What a problem and its network let change, beside what every training has.

    Attributes:
        layers: for each layer with an activation, what it may take.
        losses: what training may minimise; the first to start with. Empty: it cannot change.
        dropouts: the different probabilities of the dropout layers as the network is written; empty without any.
        augmentation: whether samples can be distorted.
    """

    layers: Layers
    losses: tuple[str, ...] = ()
    dropouts: tuple[float, ...] = ()
    augmentation: bool = False


class Hyperparameters(BaseModel):
    """One point of the search space: everything about training that may change on the way.

    Of ``lr``, ``weight_decay``, ``momentum`` and ``beta2``, what is left out is the optimizer's own.

    Attributes:
        optimizer: name in ``OPTIMIZERS``.
        lr: learning rate, above 0.
        weight_decay: 0 or more; decoupled or through the gradient, as the optimizer does it.
        momentum: 0 to 1; None if the optimizer keeps none.
        beta2: the same of squared gradients.
        batch_size: samples.
        activations: module path → name of the class in ``torch.nn``.
        loss: what training minimises; None: the only loss the problem has.
        dropout: probability of all dropout layers; None: each as it is written.
        augmentation: strength of the distortion of training samples, 0 to 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    optimizer: OptimizerName
    lr: float = Field(gt=0)
    weight_decay: float = Field(0.0, ge=0)
    momentum: float | None = Field(None, ge=0, lt=1)
    beta2: float | None = Field(None, ge=0, lt=1)
    batch_size: int = Field(ge=1)
    activations: dict[str, ActivationName]
    loss: str | None = None
    dropout: float | None = Field(None, ge=0, lt=1)
    augmentation: float = Field(0.0, ge=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_optimizers_own(cls, said: Any) -> Any:
        if isinstance(said, dict) and (kind := OPTIMIZERS.get(said.get("optimizer", ""))):
            return {**said, **{name: value for name, value in kind.own.items() if said.get(name) is None}}
        return said
