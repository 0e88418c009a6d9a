"""Losses that training can minimise, by name; each gives one number for a sample or a target pixel.

Which of them a problem offers is its own word (:meth:`miha.Problem.offered_losses`). They govern training alone:
validation, and so fitness, is always measured by the one loss of the problem.
"""

import math
from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from miha.errors import ConfigError

Loss = Callable[[Tensor, Tensor], Tensor]

SMOOTHING = 0.1  # Szegedy et al. 2016, section 7
FOCUS = 2.0  # Lin et al. 2017, section 3.2
HUBER_DELTA = 1.0  # targets are standardised


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Squared error; both (n, …)."""
    return (output - target).square()


def l1(output: Tensor, target: Tensor) -> Tensor:
    """Absolute error; both (n, …)."""
    return (output - target).abs()


def huber(output: Tensor, target: Tensor) -> Tensor:
    """Half the squared error up to 1, linear beyond (Huber 1964, Annals of Mathematical Statistics 35); both (n, …)."""
    return functional.huber_loss(output, target, reduction="none", delta=HUBER_DELTA)


def log_cosh(output: Tensor, target: Tensor) -> Tensor:
    """Logarithm of the error's hyperbolic cosine (Saleh and Saleh 2022, arXiv 2208.04564); both (n, …).

    With x the absolute error, log cosh x = x + log(1 + exp(-2x)) - log 2, which does not overflow.
    """
    error = (output - target).abs()
    return error + functional.softplus(-2 * error) - math.log(2)


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Negative log-likelihood of the true class.

    Args:
        output: (n, classes, …), logits or log-probabilities: normalising the latter again does not change them.
        target: (n, …), number of the class.
    """
    return functional.cross_entropy(output, target, reduction="none")


def label_smoothing(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy with a tenth of the truth spread over all classes (Szegedy et al. 2016, section 7)."""
    return functional.cross_entropy(output, target, reduction="none", label_smoothing=SMOOTHING)


def focal(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy times (1 - p)², p the probability of the true class (Lin et al. 2017, equation 4)."""
    plain = cross_entropy(output, target)
    return (1 - (-plain).exp()) ** FOCUS * plain


_REGRESSION: tuple[Loss, ...] = (mse, l1, huber, log_cosh)
_CLASSES: tuple[Loss, ...] = (cross_entropy, label_smoothing, focal)
LOSSES: dict[str, Loss] = {function.__name__: function for function in (*_REGRESSION, *_CLASSES)}
REGRESSION_LOSSES, CLASS_LOSSES = (
    tuple(function.__name__ for function in functions) for functions in (_REGRESSION, _CLASSES)
)


def named_loss(name: str) -> Loss:
    """The loss of a name.

    Raises:
        ConfigError: no such loss.
    """
    if name not in LOSSES:
        raise ConfigError(
            f"unknown loss {name!r}; known are {', '.join(LOSSES)}. For another, override training_loss of the problem."
        )
    return LOSSES[name]
