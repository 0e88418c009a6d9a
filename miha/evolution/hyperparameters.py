"""A point of the search space, and the registries that say what its names mean. No PyTorch here: names only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


@dataclass(frozen=True)
class OptimizerKind:
    """What MIHA knows of one class of ``torch.optim``.

    Attributes:
        lr: learning rate it starts with when nothing better is known.
        source: where that rate comes from.
        adam_like: keeps Adam's first and second moment, which a relative can take over.
        settings: other constructor arguments; all else is PyTorch's default.
    """

    lr: float
    source: str
    adam_like: bool = False
    settings: Mapping[str, float] = field(default_factory=dict)


_PYTORCH = "default of torch.optim (PyTorch 2.13)"
OPTIMIZERS: dict[str, OptimizerKind] = {
    "SGD": OptimizerKind(
        1e-2, "Goodfellow et al. 2016, Deep Learning, section 8.3: momentum 0.9", settings={"momentum": 0.9}
    ),
    "Adam": OptimizerKind(1e-3, "Kingma and Ba 2015, section 2", adam_like=True),
    "AdamW": OptimizerKind(1e-3, _PYTORCH, adam_like=True),
    "NAdam": OptimizerKind(2e-3, _PYTORCH, adam_like=True),
    "RAdam": OptimizerKind(1e-3, _PYTORCH, adam_like=True),
    "RMSprop": OptimizerKind(1e-3, "Hinton 2012, lecture 6e", settings={"alpha": 0.9}),
    "Adagrad": OptimizerKind(1e-2, _PYTORCH),
    "Adadelta": OptimizerKind(1.0, _PYTORCH),
}

# The article's twelve: nine for any layer and three that normalise over classes, for output layers alone.
ARTICLE_ACTIVATIONS = ("ELU", "Hardshrink", "Hardsigmoid", "Hardtanh", "ReLU", "ReLU6", "SELU", "Sigmoid", "Tanh")
CLASS_ACTIVATIONS = ("LogSoftmax", "Softmax", "Softmin")
HIDDEN_ACTIVATIONS = (*ARTICLE_ACTIVATIONS, "GELU", "SiLU", "LeakyReLU", "Softplus", "Mish", "Identity")
SIGNED_ACTIVATIONS = ("Identity", "ELU", "Hardshrink", "Hardtanh", "LeakyReLU", "Mish", "SELU", "Tanh")
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


class Hyperparameters(BaseModel):
    """One point of the search space: everything about training that may change on the way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    optimizer: OptimizerName
    lr: float = Field(gt=0, allow_inf_nan=False)
    batch_size: int = Field(ge=1)
    activations: dict[str, ActivationName]  # module path → name of the class in torch.nn
