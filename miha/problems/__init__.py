"""What is learned: problems, and the networks that learn them."""

from miha.problems.base import Problem
from miha.problems.gapfill import GapFill
from miha.problems.mnist import Mnist

__all__ = ["GapFill", "Mnist", "Problem"]
