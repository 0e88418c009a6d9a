"""The activation of one layer: found by type anywhere in the module tree."""

import copy
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import AfterValidator, Field
from torch import nn

from miha.evolution.change import Child
from miha.evolution.hyperparameter import Hyperparameter, Offer, Section
from miha.evolution.mixture import Mixture, channel_axis

if TYPE_CHECKING:
    from miha.evolution.point import Hyperparameters, SearchSpace

# The article's twelve: nine for any layer and three that normalise over classes, for output layers alone.
ARTICLE_ACTIVATIONS = ("ELU", "Hardshrink", "Hardsigmoid", "Hardtanh", "ReLU", "ReLU6", "SELU", "Sigmoid", "Tanh")
CLASS_ACTIVATIONS = ("LogSoftmax", "Softmax", "Softmin")
HIDDEN_ACTIVATIONS = (*ARTICLE_ACTIVATIONS, "GELU", "SiLU", "LeakyReLU", "Softplus", "Mish", "Identity")
SIGNED_ACTIVATIONS = ("Identity", "ELU", "Hardshrink", "LeakyReLU", "Mish", "SELU")  # and without an upper bound
ACTIVATIONS = (*HIDDEN_ACTIVATIONS, *CLASS_ACTIVATIONS)


class Mixed(NamedTuple):
    """What a layer applies, in a word: ``ReLU``, or ``ReLU+Tanh#3``, where half of the channels, draw 3, have Tanh."""

    first: str
    second: str = ""
    draw: int = 0

    @classmethod
    def parse(cls, name: str) -> "Mixed":
        """Take a name apart.

        Raises:
            ValueError: it is none that is known.
        """
        found = re.fullmatch(r"(\w+)(?:\+(\w+)#(\d+))?", name)
        first, second, draw = found.groups() if found else (name, None, None)
        known = ACTIVATIONS if second is None else HIDDEN_ACTIVATIONS
        if not {first, second or first} <= set(known):
            raise ValueError(f"unknown activation {name!r}; known are {', '.join(known)}")
        return cls(first, second or "", int(draw or 0))

    @property
    def names(self) -> set[str]:
        """The activations by themselves."""
        return {self.first, self.second or self.first}

    def __str__(self) -> str:
        return f"{self.first}+{self.second}#{self.draw}" if self.second else self.first


def _known(name: str) -> str:
    return str(Mixed.parse(name))


class Activation(Hyperparameter):
    """Every other activation that one layer may take, for every layer."""

    name, code = "activation", 1
    from_network = True

    class Values(Section):
        """The key of a point."""

        activations: dict[str, Annotated[str, AfterValidator(_known)]] = Field(
            default_factory=dict, description="module path → name of the class in torch.nn, or of two (ReLU+Tanh#3)"
        )

    def start(self, values: Any, offer: Offer) -> dict[str, Any]:
        return {"activations": dict(offer.activations)}

    def children(self, parent: "Hyperparameters", space: "SearchSpace", offer: Offer) -> list[Child]:
        children = []
        for layer, allowed in offer.layers.items():  # in the network's order: that of a record depends on its writer
            current = parent.activations[layer]
            for name in allowed:
                if name != current:
                    update = {"activations": {**parent.activations, layer: name}}
                    children.append(self.child(parent, layer, current, name, update))
        return children

    def differences(self, before: "Hyperparameters", after: "Hyperparameters") -> dict[tuple[str, str], Any]:
        return {
            ("activations", layer): name
            for layer, name in after.activations.items()
            if name != before.activations.get(layer)
        }

    def configure(self, network: nn.Module, point: "Hyperparameters") -> None:
        set_activations(network, point.activations)


def find_activations(network: nn.Module) -> dict[str, str]:
    """All activations of a network: module path → name of the class, in the order of the module tree.

    A module that is registered under several paths is listed under the first.
    """
    inside = {part for module in network.modules() if isinstance(module, Mixture) for part in module.children()}
    named = {path: _name_of(module) for path, module in network.named_modules() if module not in inside}
    return {path: name for path, name in named.items() if name}


def _name_of(module: nn.Module) -> str:
    """What an activation goes by; "" of a module that is none."""
    if isinstance(module, Mixture):
        return str(Mixed(_name_of(module.first), _name_of(module.second), module.draw))
    kind = type(module)
    return kind.__name__ if kind.__name__ in ACTIVATIONS and kind.__module__.startswith("torch.nn.") else ""


def activation_for(network: nn.Module, path: str, name: str) -> nn.Module:
    """The named activation for the layer at a path: the module that is there if it has that name, else a new one."""
    current = network.get_submodule(path)
    if _name_of(current) == name:
        return current
    mixed = Mixed.parse(name)
    if mixed.second:
        first, second = (leaving_the_input(copy.copy(activation_for(network, path, one))) for one in mixed[:2])
        return Mixture(first, second, mixed.draw, channel_axis(network, path))
    kind = getattr(nn, name)
    new: nn.Module = kind(dim=1) if name in CLASS_ACTIVATIONS else kind()
    return new


def leaving_the_input(activation: nn.Module) -> nn.Module:
    """The activation, which computes in memory of its own from now on: another is given the same input."""
    if hasattr(activation, "inplace"):
        setattr(activation, "inplace", False)  # noqa: B010  # of a module, mypy takes any name for a parameter
    return activation


def set_activations(network: nn.Module, activations: Mapping[str, str]) -> None:
    """Put the named activation of ``torch.nn`` at each module path, in place, and wherever that module is shared."""
    for path, name in activations.items():
        current = network.get_submodule(path)
        new = activation_for(network, path, name)
        if new is current:
            continue
        for place, module in list(network.named_modules(remove_duplicate=False)):
            if module is current:
                parent, _, child = place.rpartition(".")
                setattr(network.get_submodule(parent), child, new)
    _tell_transformers(network)


def _tell_transformers(network: nn.Module) -> None:
    """Have PyTorch's transformer layers compute with the activation that they now have.

    Where they need no gradient they go by a number that was set when they were made: 1 ReLU, 2 GELU, 0 any other. A
    stack that pads nothing (nested tensors) works with the first two alone.
    """
    for module in network.modules():
        if isinstance(module, nn.TransformerEncoderLayer) and isinstance(module.activation, nn.Module):
            module.activation_relu_or_gelu = {nn.ReLU: 1, nn.GELU: 2}.get(type(module.activation), 0)
    for module in network.modules():
        if isinstance(module, nn.TransformerEncoder):
            able = all(getattr(layer, "activation_relu_or_gelu", 0) for layer in module.layers)
            module.use_nested_tensor = module.use_nested_tensor and able
