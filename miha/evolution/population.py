"""A population: the unchanged control, and children that differ from their parent in one hyperparameter.

Each hyperparameter lists *all* points that one change of it leads to. Hyperparameters take turns by weight, and so does
what each may change (which layer); the child is then one of the points that no sibling has taken, so that no two
children are alike and none repeats its parent.
"""

from collections.abc import Iterator, Mapping, Sequence
from heapq import merge
from itertools import count, groupby, islice

from miha.evolution.change import UNCHANGED, Child
from miha.evolution.hyperparameter import Offer
from miha.evolution.hyperparameters import HYPERPARAMETERS
from miha.evolution.point import Hyperparameters, SearchSpace
from miha.evolution.prior import Tally, kind_of
from miha.evolution.seeds import stream


def generate_population(
    parent: Hyperparameters,
    space: SearchSpace,
    offer: Offer,
    size: int,
    seed: int,
    cycle: int,
    inherited: Sequence[Child] = (),
    turn: int = 0,
    prior: Tally | None = None,
    directions: Tally | None = None,
) -> list[Child]:
    """Draw ``size`` children: number 0 is the unchanged control, each drawn one has one change, no two are alike.

    Args:
        parent: the point they descend from.
        space: weights of the operators and bounds.
        offer: what else the problem and its network let change.
        size: number of children wanted; fewer come back when distinct changes run out.
        seed: of the run.
        cycle: from 1.
        inherited: children that come after the control, before any is drawn.
        turn: how many children the cycles before have drawn, so that operators take turns from there.
        prior: what earlier changes were worth; with it operators take no turns, but are drawn by it.
        directions: the same, by which it is drawn what the operator that has its turn does, such as up or down; None:
            all that it may do is as likely.
    """
    children = [Child(parent, UNCHANGED), *inherited][:size]
    taken = [child.point for child in children]
    pools = {}
    for name, kind in HYPERPARAMETERS.items():
        if space.operators.get(name):
            offered = kind.children(parent, space, offer)
            pools[name] = _by_target([child for child in offered if child.point not in taken])
    weights = {name: space.operators[name] for name, pool in pools.items() if pool}
    left = weights
    for number in range(len(children), size):
        if not left:
            break
        chance = stream(seed, "prior", cycle, number)
        if prior:
            name, nth = prior.draw(left, chance), int(chance.integers(1_000_000))
        else:
            name, nth = operator_due(weights, turn, seed)
            if name not in left:
                name, nth = operator_due(left, turn, seed)
        pool = pools[name][nth % len(pools[name])]
        offered = pool
        if directions:
            kinds = dict.fromkeys((kind_of(child.change) for child in pool), 1.0)
            chosen = directions.draw(kinds, chance)
            offered = [child for child in pool if kind_of(child.change) == chosen]
        child = offered[int(stream(seed, "mutation", cycle, number).integers(len(offered)))]
        pool.remove(child)
        children.append(child)
        pools[name] = [some for some in pools[name] if some]
        left = {name: weight for name, weight in weights.items() if pools[name]}
        turn += 1
    return children


def operator_due(weights: Mapping[str, float], turn: int, seed: int) -> tuple[str, int]:
    """Whose turn it is: operators have turns as often as their weights say, and none waits long.

    Turn k (from 0) of an operator of weight w comes at time (k + u) / w with u drawn from 0 to 1: of equal weights,
    each has had one turn before any has had two. Were each turn drawn by itself, a given operator would go without in
    one run of three, (8/9)^9, that has as many turns as there are operators.

    Args:
        weights: by operator, above 0.
        turn: from 0, counted over all operators.
        seed: of the run.

    Returns:
        name and a number that grows by 1 from turn to turn of an operator, begun anywhere.
    """

    def times(name: str) -> Iterator[tuple[float, str, int]]:
        rng = stream(seed, "turns", HYPERPARAMETERS[name].code)
        start = int(rng.integers(1_000_000))
        return (((k + rng.random()) / weights[name], name, start + k) for k in count())

    _, name, number = next(islice(merge(*map(times, weights)), turn, None))
    return name, number


def _by_target(children: list[Child]) -> list[list[Child]]:
    """The changes of an operator, apart by what they change, such as each layer."""
    return [list(pool) for _, pool in groupby(children, key=lambda child: child.change.target)]
