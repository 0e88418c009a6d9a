"""The activation of one layer: found by type anywhere in the module tree."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field
from torch import nn

from miha.evolution.change import Child
from miha.evolution.hyperparameter import Hyperparameter, Offer, Section

if TYPE_CHECKING:
    from miha.evolution.point import Hyperparameters, SearchSpace

# The article's twelve: nine for any layer and three that normalise over classes, for output layers alone.
ARTICLE_ACTIVATIONS = ("ELU", "Hardshrink", "Hardsigmoid", "Hardtanh", "ReLU", "ReLU6", "SELU", "Sigmoid", "Tanh")
CLASS_ACTIVATIONS = ("LogSoftmax", "Softmax", "Softmin")
HIDDEN_ACTIVATIONS = (*ARTICLE_ACTIVATIONS, "GELU", "SiLU", "LeakyReLU", "Softplus", "Mish", "Identity")
SIGNED_ACTIVATIONS = ("Identity", "ELU", "Hardshrink", "LeakyReLU", "Mish", "SELU")  # and without an upper bound
ACTIVATIONS = (*HIDDEN_ACTIVATIONS, *CLASS_ACTIVATIONS)


def _known(name: str) -> str:
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; known are {', '.join(ACTIVATIONS)}")
    return name


class Activation(Hyperparameter):
    """Every other activation that one layer may take, for every layer."""

    name, code = "activation", 1
    from_network = True

    class Values(Section):
        """The key of a point."""

        activations: dict[str, Annotated[str, AfterValidator(_known)]] = Field(
            default_factory=dict, description="module path → name of the class in torch.nn"
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
    return {
        path: type(module).__name__
        for path, module in network.named_modules()
        if type(module).__name__ in ACTIVATIONS and type(module).__module__.startswith("torch.nn.")
    }


def activation_for(network: nn.Module, path: str, name: str) -> nn.Module:
    """The named activation for the layer at a path: the module that is there if it has that name, else a new one."""
    current = network.get_submodule(path)
    if type(current).__name__ == name:
        return current
    kind = getattr(nn, name)
    new: nn.Module = kind(dim=1) if name in CLASS_ACTIVATIONS else kind()
    return new


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
