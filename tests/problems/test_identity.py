"""Functions are another thing once what they do has changed, and only then."""

import functools
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from miha.problems.identity import identity


def made(code, name="f"):
    """A function as a user writes it."""
    space = {"__name__": "__main__", "torch": torch, "functional": functional, "nn": nn}
    exec(code, space)
    return space[name]


SAME = [
    ("def f(x): return x + 1", "def f(x):\n    # with a comment\n    return x + 1"),
    ("K = 2\ndef f(x): return x * K", "K = 2\nOTHER = 3\ndef f(x): return x * K"),
]
OTHER = [
    ("def f(x): return x + 1", "def f(x): return x + 2"),
    ("def f(x): return functional.relu(x)", "def f(x): return functional.gelu(x)"),
    ("K = 2\ndef f(x): return x * K", "K = 3\ndef f(x): return x * K"),
    ("def g(x): return x\ndef f(x): return g(x)", "def g(x): return -x\ndef f(x): return g(x)"),
    ("def f(x, k=1): return x", "def f(x, k=2): return x"),
    ("W = torch.ones(2)\ndef f(x): return x * W", "W = torch.zeros(2)\ndef f(x): return x * W"),
    ("def f(x): return [i + 1 for i in x]", "def f(x): return [i + 2 for i in x]"),
    (
        "class N(nn.Module):\n  def forward(self, x): return x\ndef f(): return N()",
        "class N(nn.Module):\n  def forward(self, x): return 2 * x\ndef f(): return N()",
    ),
]


@pytest.mark.parametrize(("one", "two"), SAME)
def test_words_and_what_is_not_called_make_no_difference(one, two):
    assert identity(made(one)) == identity(made(two))


@pytest.mark.parametrize(("one", "two"), OTHER)
def test_what_is_computed_makes_a_difference(one, two):
    assert identity(made(one)) == identity(made(one))
    assert identity(made(one)) != identity(made(two))


def scaled(factor):
    return lambda output, target: factor * (output - target)


def test_closures_arguments_and_settings_count():
    weights = torch.ones(3)
    values = [
        scaled(1),
        scaled(2),
        functools.partial(functional.huber_loss, delta=1.0),
        functools.partial(functional.huber_loss, delta=2.0),
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(weight=weights),
        nn.CrossEntropyLoss(weight=2 * weights),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        functional.mse_loss,
        None,
    ]
    assert len({str(identity(value)) for value in values}) == len(values)


def test_functions_that_call_each_other_have_an_end():
    assert identity(made("def g(x): return f(x)\ndef f(x): return g(x)"))


def test_another_process_finds_the_same():
    code = "from tests.problems.test_identity import *; print(identity([made(two) for _, two in OTHER]))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(identity([made(two) for _, two in OTHER]))
