"""A network tried out on one batch before anything is trained, so that a mistake is reported at once and by name."""

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode

from miha.errors import ConfigError, DataError
from miha.evolution.hyperparameters.activation import HIDDEN_ACTIVATIONS, find_activations
from miha.problems.assembled import Assembled
from miha.problems.dataset import Source
from miha.problems.evaluation import forward
from miha.problems.samples import Batch, map_tensors

_PLACES = (functional, torch, torch.Tensor)
_FUNCTIONS = ("elu", "gelu", "hardshrink", "hardsigmoid", "hardtanh", "leaky_relu", "mish", "relu", "relu6", "relu_")
_MORE = ("selu", "silu", "softplus", "tanh")  # no sigmoid: what calls it is a gate or the output
# PyTorch's functions that a module could stand for: function → name of the module's class
_BY_FUNCTION = {
    getattr(place, name): kind
    for name in (*_FUNCTIONS, *_MORE)
    for kind in HIDDEN_ACTIVATIONS
    if kind.lower() == name.rstrip("_").replace("_", "")
    for place in _PLACES
    if hasattr(place, name)
}
TRIED = 16  # samples
_MANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def try_out(problem: Assembled, activations_may_change: bool) -> None:
    """Build the network, and give it a batch of either data set as training and validation do.

    Raises:
        ConfigError: no network, one that has nothing to train, or whose activations are functions though they are to
            change; a loss or metric that is no number.
        DataError: batches that the network does not take, or whose loss is not finite.
    """
    for part, given in (("loss", problem.parts.loss), ("metric", problem.parts.measure)):
        if isinstance(given, type):
            raise ConfigError(f"{part} is a class; make one of it: {given.__name__}().")
    network = _built(problem.parts.build)
    for name in ("train", "valid"):
        source: Source = getattr(problem.parts, name)
        batch = source.read(range(min(TRIED, len(source.dataset))), 0)
        network.train(name == "train")
        with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(name == "train"):
            with _functions_called(network) as called:
                output = _output(network, problem, batch, name)
            _check_loss(problem, output, batch, name)
    if activations_may_change and called and not problem.layers(network):
        function = sorted(called)[0]
        raise ConfigError(
            f"the network calls its activations as functions ({', '.join(sorted(called))}), where MIHA cannot change "
            f"them. Make each a module: self.act = nn.{called[function]}() in __init__, and self.act(x) in forward. Or "
            'leave them as they are: search={"operators": {…}} without "activation" and "neuron_activation".'
        )


def _built(build: Callable[[], nn.Module]) -> nn.Module:
    if isinstance(build, nn.Module):
        raise ConfigError("build is a network; give a function that makes a fresh one each time: build=lambda: Net(…).")
    try:
        inspect.signature(build).bind()
    except TypeError as error:
        raise ConfigError(f"build is called with nothing, but {error}: build=lambda: Net(…).") from error
    except ValueError:
        pass  # of what is written in C nothing is known
    with torch.random.fork_rng(devices=[]):
        network = build()
    if not isinstance(network, nn.Module):
        raise ConfigError(f"build must return a torch.nn.Module, but returned {type(network).__name__}.")
    if any(map(is_lazy, network.parameters())):
        raise ConfigError(
            "the network has layers whose shapes a first batch decides (nn.Lazy…). Let build give it one: "
            "network(torch.zeros(…)), before it returns the network."
        )
    if not any(parameter.requires_grad for parameter in network.parameters()):
        found = "all parameters are frozen" if list(network.parameters()) else "it has no parameters"
        raise ConfigError(
            f"the network that build returned has nothing to train: {found}. Register layers as attributes of the "
            "module (in lists: nn.ModuleList), and leave requires_grad on for some."
        )
    return network


def _output(network: nn.Module, problem: Assembled, batch: Batch, name: str) -> Any:
    positional, named = problem.arguments(batch)
    if named:
        _check_names(network, named, name)
    try:
        return forward(network, problem, batch)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        shapes = [*map(_shape, positional), *(f"{key}={_shape(value)}" for key, value in named.items())]
        raise DataError(
            f"{name}: the network does not take a batch of these data, network({', '.join(shapes)}): {error}"
        ) from error


def _check_names(network: nn.Module, named: Mapping[str, Any], name: str) -> None:
    """Refuse a batch whose keys are not the arguments of the network."""
    taken = inspect.signature(network.forward).parameters
    any_name = any(one.kind is one.VAR_KEYWORD for one in taken.values())
    required = {key for key, one in taken.items() if one.default is one.empty and one.kind not in _MANY}
    extra, lacking = sorted(named.keys() - (named if any_name else taken)), sorted(required - named.keys())
    advice = []
    if extra:
        advice.append(f"It does not take {', '.join(map(repr, extra))}: leave that out in __getitem__ or collate_fn.")
    if lacking:
        advice.append(f"It lacks {', '.join(map(repr, lacking))}: give samples such a key.")
    if advice:
        called = f"forward({', '.join(taken)})"
        raise DataError(f"{name}: keys of a batch go to the network by name, {called}. {' '.join(advice)}")


def _check_loss(problem: Assembled, output: Any, batch: Batch, name: str) -> None:
    shapes = f"output {_shape(output)}, target {_shape(batch.target)}"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "Using a target size", UserWarning)
            loss, metric, _ = problem.validation(output, batch)
    except UserWarning as error:
        raise DataError(
            f"{name}: the loss would compare each output with every target ({shapes}). Give them one shape, e.g. "
            "target[:, None], or squeeze(1) at the end of the network."
        ) from error
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise ConfigError(f"loss or metric does not take what there is ({name}: {shapes}): {error}") from error
    if not loss.isfinite():
        bad = [part for part, value in (("input", batch.inputs), ("target", batch.target)) if not _finite(value)]
        where = f"an {bad[0]} is NaN or infinite" if bad else "look at the scale of inputs and targets"
        raise DataError(f"{name}: the loss of the first batch is {loss.item()} before any training: {where}.")
    if metric.numel() != 1:
        raise ConfigError(f"the metric must be one number, but has shape {tuple(metric.shape)}.")
    if name == "train" and not loss.requires_grad:
        raise ConfigError("the loss has no gradient. Compute it with PyTorch from the network's output.")


def _finite(value: Any) -> bool:
    found: list[bool] = []
    map_tensors(value, lambda tensor: found.append(bool(tensor.isfinite().all())))
    return all(found)


def _shape(value: Any) -> str:
    shapes: Any = map_tensors(value, lambda tensor: f"{tuple(tensor.shape)}")
    return str(shapes).replace("'", "")


class _Watch(TorchFunctionMode):
    """Notes which activations are called as functions, outside of the modules that stand for them."""

    def __init__(self) -> None:
        super().__init__()
        self.called: dict[str, str] = {}
        self.inside = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.inside and isinstance(kind := _kind_of(function), str):
            self.called[function.__name__] = kind
        return function(*args, **(kwargs or {}))


def _kind_of(function: Any) -> str | None:
    try:
        return _BY_FUNCTION.get(function)
    except TypeError:
        return None  # not hashable


@contextmanager
def _functions_called(network: nn.Module) -> Iterator[dict[str, str]]:
    """Yields the functions that stand for activations, with their modules, as they are called in the block."""
    watch, hooks = _Watch(), []

    def enter(*_: Any) -> None:
        watch.inside += 1

    def leave(*_: Any) -> None:
        watch.inside -= 1

    for path in find_activations(network):
        module = network.get_submodule(path)
        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        with watch:
            yield watch.called
    finally:
        for hook in hooks:
            hook.remove()
