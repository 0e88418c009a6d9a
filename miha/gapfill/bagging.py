"""Networks that learn side by side, each from other days: which error is whose, and what they say together."""

from torch import Tensor, nn

from miha.errors import ConfigError
from miha.problems.samples import Batch


def by_network(output: Tensor) -> Tensor:
    """Maps (n, members, height, width); those of a network that gives (n, height, width) are of one member."""
    return output if output.dim() == 4 else output[:, None]


def mean_correction(network: nn.Module, inputs: Tensor) -> Tensor:
    """What all of them say together: (n, height, width)."""
    return by_network(network(inputs)).mean(dim=1)


def judged_each(output: Tensor, batch: Batch) -> tuple[Tensor, Batch]:
    """Output and target of each network, (n, members, height, width), where the mask of that shape counts.

    Raises:
        ConfigError: the mask is of another number of networks.
    """
    each = by_network(output)
    if batch.mask is not None and batch.mask.shape != each.shape:
        raise ConfigError(
            f"the network gives maps of shape {(*each.shape[1:],)}, not {(*batch.mask.shape[1:],)}: number of "
            "networks that learn side by side, height, width. Let networks say how many there are."
        )
    return each, batch._replace(target=batch.target[:, None].expand_as(each))


def out_of_bag(output: Tensor, batch: Batch) -> tuple[Tensor, Batch]:
    """The mean of those networks whose error a mask counts, as one: on a day those that did not learn from it.

    Raises:
        ConfigError: the mask is of another number of networks.
    """
    assert batch.mask is not None, "gap filling has targets inside gaps alone"
    each, judging = judged_each(output, batch)[0], batch.mask.sum(dim=1, keepdim=True)
    mean = (each * batch.mask).sum(dim=1, keepdim=True) / judging.clamp(min=1)
    return mean, batch._replace(mask=batch.mask.amax(dim=1, keepdim=True))
