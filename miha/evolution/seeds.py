"""Random numbers without global state: one independent stream for each purpose and place.

A stream is named by (run seed, purpose, key) through the spawn keys of ``numpy.random.SeedSequence``, so that what is
drawn depends neither on the order of the work nor on who does it. Siblings share the streams of a mainline epoch
(data order, augmentation, dropout): fitness then compares changes and not luck.
"""

from typing import Literal

import numpy as np

Purpose = Literal[
    "weights", "order", "dropout", "augmentation", "mutation", "split", "samples", "fill", "turns", "prior"
]
_CODES: dict[str, int] = {
    "weights": 0,  # initial weights
    "order": 1,  # order of the samples in a mainline epoch
    "dropout": 2,  # everything random inside the network in a mainline epoch
    "augmentation": 3,  # how the samples of a mainline epoch are varied
    "mutation": 4,  # draw of a change, by cycle and candidate
    "split": 5,  # which days train, validate and test
    "samples": 6,  # gaps that are pasted, by sample
    "fill": 7,  # forests of the first guess when a scene is filled
    "turns": 8,  # when each operator has its turn
    "prior": 9,  # which change has its turn by what earlier ones were worth, by cycle and candidate
}


def _sequence(seed: int, purpose: Purpose, key: tuple[int, ...]) -> np.random.SeedSequence:
    return np.random.SeedSequence(seed, spawn_key=(_CODES[purpose], *key))


def stream(seed: int, purpose: Purpose, *key: int) -> np.random.Generator:
    """The NumPy generator of one purpose and place, e.g. ``stream(seed, "mutation", cycle, candidate)``."""
    return np.random.default_rng(_sequence(seed, purpose, key))


def torch_seed(seed: int, purpose: Purpose, *key: int) -> int:
    """A seed for a ``torch.Generator`` of one purpose and place, 0 to 2**63 - 1."""
    return int(_sequence(seed, purpose, key).generate_state(1, np.uint64)[0] >> np.uint64(1))
