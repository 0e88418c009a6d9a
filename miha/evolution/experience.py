"""What directions of changes were worth in the small trainings of ``python -m bench.tuning``, which computes it.

They begin with a usual learning rate, batch size and regularisation, and are short, so that longer and more
steps help most often: a learning rate that must fall does so by itself in final training. Each direction counts as
tried ten times, so that what a run itself finds out soon weighs more.
"""

from miha.evolution.prior import Tally

TRIES = 10
WINS = {
    "augmentation/down": 5,
    "augmentation/up": 3,
    "batch_size/down": 7,
    "batch_size/up": 0,
    "dropout/up": 2,
    "lr/down": 1,
    "lr/up": 6,
    "momentum/down": 4,
    "momentum/up": 6,
    "weight_decay/up": 0,
}

EXPERIENCE = Tally(wins=WINS, tries=dict.fromkeys(WINS, TRIES))
