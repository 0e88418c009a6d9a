"""Building an optimizer, and carrying its state across a change of hyperparameters."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from miha.evolution.hyperparameter import State
from miha.evolution.hyperparameters import HYPERPARAMETERS
from miha.evolution.point import Hyperparameters


def build_optimizer(network: nn.Module, point: Hyperparameters) -> torch.optim.Optimizer:
    """A fresh optimizer of ``torch.optim`` for all parameters of ``network``, fused where PyTorch has it."""
    arguments: dict[str, Any] = {}
    for kind in HYPERPARAMETERS.values():
        arguments |= kind.optimizer_arguments(point)
    return _without_dynamo(getattr(torch.optim, point.optimizer))(network.parameters(), **arguments)


def _without_dynamo(kind: type[torch.optim.Optimizer]) -> Callable[..., torch.optim.Optimizer]:
    """The same optimizer without PyTorch's guards for ``torch.compile`` around the methods that training calls.

    The guards import ``torch._dynamo`` when first called, which costs each process two to three seconds. The guard of
    ``step`` also switches gradients off, which is done here instead.
    """
    methods = {"add_param_group": inspect.unwrap(kind.add_param_group), "zero_grad": _forget_gradients}
    return type(kind.__name__, (kind,), {**methods, "step": torch.no_grad()(inspect.unwrap(kind.step))})


def _forget_gradients(optimizer: torch.optim.Optimizer, set_to_none: bool = True) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def state_of(network: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """The optimizer's state as ``parameter/key`` → tensor. Learning rate and settings are not in it."""
    flat: State = {}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                flat[f"{name}/{key}"] = torch.as_tensor(value).clone()
    return flat


def restore_state(network: nn.Module, optimizer: torch.optim.Optimizer, flat: State) -> None:
    """Give an optimizer the state that :func:`state_of` took; its learning rate and settings stay its own."""
    fused = bool(optimizer.defaults.get("fused"))  # counts its steps where the parameters are, others on the CPU
    for name, parameter in network.named_parameters():
        prefix = f"{name}/"
        found = {key[len(prefix) :]: value for key, value in flat.items() if key.startswith(prefix)}
        if found:
            optimizer.state[parameter] = {
                key: value.to("cpu", copy=True)
                if key in ("step", "mu_product") and not fused
                else _laid_out_as(parameter, value)
                for key, value in found.items()
            }


def _laid_out_as(parameter: nn.Parameter, value: Tensor) -> Tensor:
    """A copy where the parameter is; in the order of its memory, in which fused steps walk through both."""
    if value.shape != parameter.shape:
        return value.to(parameter.device, copy=True)
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def carry_state(state: State, before: Hyperparameters, after: Hyperparameters) -> State:
    """The part of one optimizer's state that another, or the same with other settings, can start from.

    Args:
        state: ``parameter/key`` → tensor, as :func:`state_of` gives it.
        before: what left it.
        after: what takes over.
    """
    for kind in HYPERPARAMETERS.values():
        state = kind.carry(state, before, after)
    return state
