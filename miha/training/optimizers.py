"""Building an optimizer, and carrying its state across a change of hyperparameters."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from miha.evolution.hyperparameters import OPTIMIZERS, Hyperparameters

FUSED = {"SGD", "Adam", "AdamW", "Adagrad"}  # where PyTorch 2.13 has a fused step on the CPU
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
_NADAM_MOMENTUM_DECAY = 4e-3  # default of torch.optim.NAdam


def build_optimizer(network: nn.Module, hyperparameters: Hyperparameters) -> torch.optim.Optimizer:
    """A fresh optimizer of ``torch.optim`` for all parameters of ``network``, fused where PyTorch has it."""
    kind = OPTIMIZERS[hyperparameters.optimizer]
    settings: dict[str, float | bool] = dict(kind.settings)
    if hyperparameters.optimizer in FUSED:
        settings["fused"] = True
    constructor = getattr(torch.optim, hyperparameters.optimizer)
    optimizer: torch.optim.Optimizer = constructor(network.parameters(), lr=hyperparameters.lr, **settings)
    return optimizer


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
                key: value.to("cpu" if key in ("step", "mu_product") and not fused else parameter.device, copy=True)
                for key, value in found.items()
            }


def carry_state(flat: dict[str, Tensor], before: str, after: str) -> dict[str, Tensor]:
    """The part of one optimizer's state that another can start from.

    The same optimizer keeps all of it. Relatives of Adam keep both moments and the step. SGD takes Adam's first moment
    as its momentum buffer, scaled from a weighted mean to the sum that SGD keeps. Any other pair starts fresh.

    Args:
        flat: ``parameter/key`` → tensor, as :func:`state_of` gives it.
        before: name of the optimizer that left it.
        after: name of the optimizer that takes over.
    """
    if before == after:
        return flat
    if not OPTIMIZERS[before].adam_like:
        return {}
    if OPTIMIZERS[after].adam_like:
        kept = {key: value for key, value in flat.items() if key.endswith(tuple(f"/{moment}" for moment in _MOMENTS))}
        if after == "NAdam":
            for name in _names(flat):
                kept[f"{name}/mu_product"] = _nadam_mu_product(flat[f"{name}/step"])
        return kept
    if after == "SGD":
        # Adam: m = 0.9 m + 0.1 g; SGD with momentum 0.9: b = 0.9 b + g. So b = m / 0.1 (Adam's beta1 is 0.9).
        return {f"{name}/momentum_buffer": flat[f"{name}/exp_avg"] / (1 - 0.9) for name in _names(flat)}
    return {}


def _names(flat: Iterable[str]) -> list[str]:
    return sorted({key.rpartition("/")[0] for key in flat})


def _nadam_mu_product(step: Tensor, beta1: float = 0.9) -> Tensor:
    """Product of NAdam's momentum schedule over the steps done (Dozat 2016; ``torch.optim.NAdam``)."""
    steps = torch.arange(1, int(step.item()) + 1, dtype=torch.float64)
    schedule = beta1 * (1 - 0.5 * 0.96 ** (steps * _NADAM_MOMENTUM_DECAY))
    return schedule.prod().to(torch.float32)
