"""Mistakes in what ``miha.tune`` is given are named before anything is trained."""

import re

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from miha.errors import ConfigError, DataError
from tests.support.runs import contents
from tests.support.tuned import Dictionaries, N, normalised, of_tensors, tensors, tune


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 8), nn.Linear(8, 1)

    def forward(self, inputs):
        return self.two(functional.leaky_relu(self.one(inputs)))


class Nothing(nn.Module):
    def forward(self, inputs):
        return inputs.sum(dim=1, keepdim=True)


class OfOne(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, one):
        return self.layer(one)


def all_frozen():
    return normalised().requires_grad_(False)


class Opened(TensorDataset):
    """It opened a file, and keeps it open."""

    def __init__(self, *tensors):
        super().__init__(*tensors)
        self.file = open(__file__, "rb")  # noqa: SIM115


class Streamed(torch.utils.data.IterableDataset):
    def __iter__(self):
        yield torch.zeros(4), torch.zeros(1)


def not_finite():
    inputs, target = tensors(4, n=N)
    inputs[3, 0] = float("nan")
    return TensorDataset(inputs, target)


MISTAKES = {
    "functions": (
        {"build": Functional},
        ConfigError,
        r"\(leaky_relu\).*self.act = nn.LeakyReLU\(\) in __init__, and self.act\(x\) in forward",
    ),
    "functions, by channel": (
        {"build": Functional, "search": {"operators": {"neuron_activation": 1}}},
        ConfigError,
        r"\(leaky_relu\).*nn.LeakyReLU",
    ),
    "no parameters": ({"build": Nothing}, ConfigError, "nothing to train: it has no parameters"),
    "all frozen": ({"build": all_frozen}, ConfigError, "nothing to train: all parameters are frozen"),
    "no network": ({"build": dict}, ConfigError, "must return a torch.nn.Module, but returned dict"),
    "open file": ({"train": Opened(*tensors(4, n=N))}, DataError, "train: the data set cannot be pickled.*open files"),
    "stream": ({"valid": Streamed()}, DataError, "valid: Streamed gives no sample by its number"),
    "empty": ({"valid": TensorDataset(torch.zeros(0, 4), torch.zeros(0))}, DataError, "valid: .*no samples"),
    "no target": ({"train": TensorDataset(torch.zeros(9, 4))}, DataError, r"a list of one, but .*an autoencoder's is"),
    "not finite": ({"train": not_finite()}, DataError, "train: the loss of the first batch is nan .* an input is NaN"),
    "shape": ({"train": TensorDataset(*tensors(5, n=N))}, DataError, r"train: .*network\(\(16, 5\)\): mat1 and mat2"),
    "flat targets": (
        {"train": TensorDataset(torch.rand(9, 4), torch.rand(9))},
        DataError,
        r"train: the loss would compare each output with every target \(output \(9, 1\), target \(9,\)\).*target\[:, None\]",
    ),
    "loss": ({"loss": nn.CrossEntropyLoss()(torch.zeros(1, 2), torch.zeros(1).long()).item}, ConfigError, "loss or m"),
    "no gradient": ({"loss": lambda output, target: (output.detach() - target).mean()}, ConfigError, "no gradient"),
    "own sampler": (
        {"train": DataLoader(of_tensors(4)["train"], sampler=torch.utils.data.WeightedRandomSampler([1.0], 1))},
        DataError,
        r"train: the DataLoader has a sampler of its own \(WeightedRandomSampler\)",
    ),
    "schedule": ({"schedule": {}}, ConfigError, "makes schedule itself"),
    "unknown": ({"sead": 1}, ConfigError, "sead: no such key; did you mean 'seed'"),
    "argument": ({"epoch": 9}, ConfigError, "epoch: no such key; did you mean 'epochs'"),
    "network": ({"build": normalised()}, ConfigError, r"build is a network; .*build=lambda: Net\(…\)"),
    "class": ({"loss": nn.MSELoss}, ConfigError, r"loss is a class; make one of it: MSELoss\(\)"),
    "build takes more": ({"build": lambda width: normalised()}, ConfigError, "with nothing, but missing .* 'width'"),
    "dictionary": ({"train": {"x": torch.zeros(9, 4)}}, DataError, "train: dict gives no sample by its number"),
    "no batches": (
        {"train": DataLoader(of_tensors(4)["train"], batch_size=None)},
        DataError,
        r"train: the DataLoader makes no batches \(batch_size=None\)",
    ),
    "lazy": ({"build": lambda: nn.LazyLinear(1)}, ConfigError, "a first batch decides .* Let build give it one"),
    "key too many": (
        {"build": OfOne, "train": Dictionaries(N), "valid": Dictionaries(N), "target": "y"},
        DataError,
        r"train: keys of a batch go .* forward\(one\)\. It does not take 'two': leave that out in __getitem__ or collate_fn\.$",
    ),
    "other keys": (
        {"train": Dictionaries(N), "valid": Dictionaries(N), "target": "y"},
        DataError,
        r"forward\(input\)\. It does not take 'one', 'two': .*\. It lacks 'input': give samples such a key\.$",
    ),
    "folder": ({"valid": "data/valid"}, DataError, "valid: str gives no sample by its number"),
    "table": ({"train": pd.DataFrame({"a": [0.0]})}, DataError, r"train: DataFrame .*TensorDataset"),
}


@pytest.mark.parametrize(("settings", "kind", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_reported_before_anything_is_trained(tmp_path, settings, kind, message):
    with pytest.raises(kind, match=message):
        tune(tmp_path, **{"build": normalised, "data": of_tensors(4)} | settings)
    assert not (tmp_path / "run" / "model").exists()


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("epochs", "twenty"),
        ("epochs", 7.5),
        ("epochs", None),
        ("metric", "mae"),
        ("losses", "mse"),
        ("target", 3),
        ("max_gradient_norm", 0),
        ("largest_piece", 2.5),
        ("patience", "long"),
        ("max_seconds", 0),
        ("show", "yes, please"),
        ("tensorboard", True),
        ("mlflow", 3),
        ("run_dir", None),
        ("seed", -1),
        ("start", 3),
        ("search", "lr"),
        ("run", [1]),
    ],
)
def test_an_argument_of_a_wrong_type_is_named_with_its_value(tmp_path, argument, value):
    loaders = {name: DataLoader(one, 8) for name, one in of_tensors(4).items()}
    with pytest.raises(ConfigError, match=rf"wrong:\n  (schedule\.)?{argument}: .* \(got {re.escape(repr(value))}\)$"):
        tune(tmp_path, normalised, loaders, **{argument: value})
    assert not (tmp_path / "run").exists()


def test_none_stands_for_the_default_and_a_number_may_be_text(tmp_path):
    loaders = {name: DataLoader(one, 8) for name, one in of_tensors(4).items()}
    plain = tune(tmp_path, normalised, loaders, "plain")
    spelt = tune(tmp_path, normalised, loaders, "spelt", epochs="7", start=None, search=None, seed=None, replace=None)
    assert contents(spelt.run_dir) == contents(plain.run_dir)


def test_activations_that_are_functions_are_no_mistake_where_none_may_change(tmp_path):
    run = tune(tmp_path, Functional, of_tensors(4), search={"operators": {"lr": 1}})
    assert run.best.valid_loss < run.history.valid_loss.iloc[0]
