"""Momentum, and the running mean of squared gradients."""

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field
from torch import Tensor

from miha.evolution.change import Child
from miha.evolution.hyperparameter import Hyperparameter, Limits, Offer, Section, State
from miha.evolution.hyperparameters.optimizer import OPTIMIZERS, nadam_products, parameters_of

if TYPE_CHECKING:
    from miha.evolution.point import Hyperparameters, SearchSpace

FACTORS = (0.2, 0.5, 2.0, 5.0)  # of 1 - b, b being the momentum


class Momentum(Hyperparameter):
    """Momentum or beta2, where the optimizer has them, reaching back half or a fifth, two or five times as far.

    A running mean of decay b reaches back about 1 / (1 - b) steps, so 1 - b is what is multiplied.
    """

    name, code = "momentum", 5
    limits: ClassVar = {
        "momentum": Limits(0.5, 0.99, "momentum of SGD, beta1 of Adam's relatives"),
        "beta2": Limits(0.9, 0.9999, "beta2 of Adam's relatives, alpha of RMSprop, rho of Adadelta"),
    }

    class Values(Section):
        """Keys of ``start:``."""

        momentum: float | None = Field(
            None, ge=0, lt=1, description="momentum of SGD, beta1 of Adam's relatives; default: the optimizer's own"
        )
        beta2: float | None = Field(
            None,
            ge=0,
            lt=1,
            description="beta2 of Adam's relatives, alpha of RMSprop, rho of Adadelta; default: the optimizer's own",
        )

    def children(self, parent: "Hyperparameters", space: "SearchSpace", offer: Offer) -> list[Child]:
        children: list[Child] = []
        for key in self.limits:
            if (current := getattr(parent, key)) is not None:
                values = [1 - (1 - current) * factor for factor in FACTORS]
                children += self.number_children(parent, space, key, values)
        return children

    def optimizer_arguments(self, point: "Hyperparameters") -> dict[str, Any]:
        kind = OPTIMIZERS[point.optimizer]
        if kind.adam_like:
            return {"betas": (point.momentum, point.beta2)}
        if kind.momentum_argument:
            return {kind.momentum_argument: point.beta2 if point.momentum is None else point.momentum}
        return {}

    def carry(self, state: State, before: "Hyperparameters", after: "Hyperparameters") -> State:
        """What is left where a beta changes: of Adam's relatives, moments that are scaled so that estimates stay.

        Their estimate is m / (1 - β^step) (Kingma and Ba 2015, section 3): else a larger beta would take the moments
        for younger than they are, and overrate them many times. SGD without momentum leaves an old buffer alone.
        """
        if not (OPTIMIZERS[before.optimizer].adam_like and OPTIMIZERS[after.optimizer].adam_like):
            return {} if (before.optimizer, before.momentum) == ("SGD", 0) else state
        betas = {"exp_avg": (before.momentum, after.momentum), "exp_avg_sq": (before.beta2, after.beta2)}
        kept = dict(state)
        for name in parameters_of(state):
            step = state[f"{name}/step"]
            for key, (old, new) in betas.items():
                if old != new:
                    kept[f"{name}/{key}"] = state[f"{name}/{key}"] * (_weight(new, step) / _weight(old, step))
        if after.optimizer == "NAdam" and before.momentum != after.momentum:
            kept |= nadam_products(state, after.momentum)
        return kept


def _weight(beta: float, step: Tensor) -> float:
    """The sum of the weights of a running mean after so many steps: 1 - β^step."""
    return float(1 - beta ** step.item())
