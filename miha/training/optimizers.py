"""Building an optimizer, and carrying its state across a change of hyperparameters."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from miha.evolution.hyperparameters import OPTIMIZERS, Hyperparameters

FUSED = {"SGD", "Adam", "AdamW", "Adagrad"}  # where PyTorch 2.13 has a fused step on the CPU
_MOMENTUM_ARGUMENTS = {"SGD": "momentum", "RMSprop": "alpha", "Adadelta": "rho"}
_NADAM_MOMENTUM_DECAY = 4e-3  # default of torch.optim.NAdam


def build_optimizer(network: nn.Module, hyperparameters: Hyperparameters) -> torch.optim.Optimizer:
    """A fresh optimizer of ``torch.optim`` for all parameters of ``network``, fused where PyTorch has it."""
    name, momentum, beta2 = hyperparameters.optimizer, hyperparameters.momentum, hyperparameters.beta2
    settings: dict[str, Any] = {"lr": hyperparameters.lr, "weight_decay": hyperparameters.weight_decay}
    if OPTIMIZERS[name].adam_like:
        settings["betas"] = (momentum, beta2)
    elif name in _MOMENTUM_ARGUMENTS:
        settings[_MOMENTUM_ARGUMENTS[name]] = beta2 if momentum is None else momentum
    if name in FUSED:
        settings["fused"] = True
    return _without_dynamo(getattr(torch.optim, name))(network.parameters(), **settings)


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


def state_of(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as ``parameter/key`` → tensor. Learning rate and settings are not in it."""
    flat: dict[str, Tensor] = {}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                flat[f"{name}/{key}"] = torch.as_tensor(value).clone()
    return flat


def restore_state(network: nn.Module, optimizer: torch.optim.Optimizer, flat: dict[str, Tensor]) -> None:
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


def carry_state(flat: dict[str, Tensor], before: Hyperparameters, after: Hyperparameters) -> dict[str, Tensor]:
    """The part of one optimizer's state that another, or the same with other settings, can start from.

    The same optimizer keeps all of it. Relatives of Adam keep both moments and the step. SGD takes Adam's first moment
    as its momentum buffer, scaled from a weighted mean to the sum that SGD keeps. Any other pair starts fresh.

    Args:
        flat: ``parameter/key`` → tensor, as :func:`state_of` gives it.
        before: what left it.
        after: what takes over.
    """
    if OPTIMIZERS[before.optimizer].adam_like:
        if OPTIMIZERS[after.optimizer].adam_like:
            return _carry_moments(flat, before, after)
        if after.optimizer == "SGD":
            # Of a steady gradient g Adam's mean is g, and SGD's sum b = β b + g is g / (1 - β), by its own β.
            scale = 1 - _beta(after.momentum)
            return {f"{name}/momentum_buffer": flat[f"{name}/exp_avg"] / scale for name in _names(flat)}
    same = before.optimizer == after.optimizer and before.momentum != 0  # SGD without it leaves an old buffer alone
    return flat if same else {}


def _carry_moments(flat: dict[str, Tensor], before: Hyperparameters, after: Hyperparameters) -> dict[str, Tensor]:
    """The state of one relative of Adam for another.

    Where a beta changes, its moment is scaled so that the estimate m / (1 - β^step) stays (Kingma and Ba 2015,
    section 3): else a larger beta would take the moments for younger than they are, and overrate them many times.
    """
    kept = dict(flat) if before.optimizer == after.optimizer else {}
    betas = {"exp_avg": (before.momentum, after.momentum), "exp_avg_sq": (before.beta2, after.beta2)}
    for name in _names(flat):
        step = kept[f"{name}/step"] = flat[f"{name}/step"]
        for key, (old, new) in betas.items():
            moment = flat[f"{name}/{key}"]
            kept[f"{name}/{key}"] = moment if old == new else moment * (_weight(new, step) / _weight(old, step))
        if after.optimizer == "NAdam" and (f"{name}/mu_product" not in kept or before.momentum != after.momentum):
            kept[f"{name}/mu_product"] = _nadam_mu_product(step, _beta(after.momentum))
    return kept


def _weight(beta: float | None, step: Tensor) -> float:
    """The sum of the weights of a running mean after so many steps: 1 - β^step."""
    return float(1 - _beta(beta) ** step.item())


def _beta(value: float | None) -> float:
    assert value is not None, "relatives of Adam have both"
    return value


def _names(flat: Iterable[str]) -> list[str]:
    return sorted({key.rpartition("/")[0] for key in flat})


def _nadam_mu_product(step: Tensor, beta1: float) -> Tensor:
    """Product of NAdam's momentum schedule over the steps done (Dozat 2016; ``torch.optim.NAdam``)."""
    steps = torch.arange(1, int(step.item()) + 1, dtype=torch.float64)
    schedule = beta1 * (1 - 0.5 * 0.96 ** (steps * _NADAM_MOMENTUM_DECAY))
    return schedule.prod().to(torch.float32)
