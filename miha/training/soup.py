"""A soup: the mean of the weights of candidates that come from one parent (Wortsman et al. 2022, arXiv 2203.05482).

No epoch is trained for it. Two means are tried: of all members, and a greedy one, which begins with the first and takes
on each other with which its validation loss is, within the noise, as low as any so far. Kept is the mean of most
members that is as good as the best within the noise, so that few epochs of candidates are lost; if none is, the best.
"""

import math
from collections.abc import Sequence

from miha.evolution.fitness import ALIKE, within_noise
from miha.evolution.seeds import torch_seed
from miha.problems.evaluation import Validation, configure, load_weights, validate
from miha.records.record import Epoch, StageRecord
from miha.training.archives import read_parent, save
from miha.training.averaging import estimate_batch_norm, mean_weights
from miha.training.loop import finite, network_to_device, seeded
from miha.training.spec import StageSpec


def make_soup(spec: StageSpec) -> StageRecord:
    """Average the members of ``spec``, the first of which gives hyperparameters and the optimizer's state.

    Raises:
        ArchiveError: the archive of a member is missing, altered, or not the one of the spec.
    """
    opened, point = spec.problem.opened(spec.seed), spec.hyperparameters
    archives = [read_parent(spec, member) for member in spec.members]
    with seeded(torch_seed(spec.seed, "weights")):
        network = opened.problem.build_network()
    configure(network, point)
    network_to_device(network, spec.compute.device, opened.problem.channels_last)

    def judged(members: Sequence[int]) -> Validation:
        load_weights(network, mean_weights([archives[number].weights for number in members]))
        estimate_batch_norm(network, opened.problem, opened.data.train, point.batch_size, spec.compute.device)
        found = validate(network, opened.problem, opened.data.valid, spec.compute.device)
        return found if math.isfinite(found.loss) else found._replace(loss=math.inf)

    def alike(one: Validation, other: Validation) -> bool:
        return within_noise(one.loss, one.shares, other.loss, other.shares, ALIKE)

    everyone: tuple[int, ...] = tuple(range(len(archives)))
    greedy: tuple[int, ...] = (0,)
    first, tried = archives[0].manifest.record, {everyone: judged(everyone)}
    lowest = min(Validation(first.valid_loss, 0.0, first.shares), tried[everyone])
    for number in everyone[1:]:
        trial = judged((*greedy, number))
        if alike(trial, lowest):
            greedy = (*greedy, number)
            tried[greedy] = trial
            lowest = min(lowest, trial)
    chosen = max(tried, key=lambda members: (alike(tried[members], lowest) * len(members), -tried[members].loss))
    best = tried[chosen]
    judged(chosen)  # the weights, and the statistics of its normalisation
    epoch = Epoch(
        epoch=spec.span.last,
        train_loss=None,
        valid_loss=finite(best.loss),
        shares=best.shares if finite(best.loss) is not None else (),
        metrics={opened.problem.metric: finite(best.metric * opened.data.unit)},
        batch_size=point.batch_size,
        optimizer=point.optimizer,
        lr=point.lr,
    )
    numbers = tuple(spec.change.members[place] for place in chosen)
    made = spec.model_copy(update={"change": spec.change.model_copy(update={"members": numbers})})
    return save(spec.archive, made, opened, [epoch], network.state_dict(), archives[0].optimizer_state)
