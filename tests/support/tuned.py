"""Small data and networks for ``miha.tune``."""

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset, TensorDataset

import miha

N, VALID = 65, 24  # a last batch of 16 would be one sample


def tensors(*shape, n, seed=0):
    inputs = torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return inputs, inputs.flatten(1).sum(dim=1, keepdim=True).sin()


def of_tensors(*shape):
    return {"train": TensorDataset(*tensors(*shape, n=N)), "valid": TensorDataset(*tensors(*shape, n=VALID, seed=1))}


def mae(output, target):
    return (output - target).abs().mean()


def tune(tmp_path, build, data, name="run", **settings):
    common = {"loss": functional.mse_loss, "metric": mae, "epochs": 7, "show": False, "run": {"workers": 1}}
    return miha.tune(**{**common, "build": build, **data, "run_dir": tmp_path / name, **settings})


def normalised():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.act, self.head = nn.LSTM(2, 8, batch_first=True), nn.Tanh(), nn.Linear(8, 1)

    def forward(self, series):
        return self.head(self.act(self.lstm(series)[0][:, -1]))


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(2, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, activation=nn.ReLU(), batch_first=True)
        self.head = nn.Linear(8, 1)

    def forward(self, series):
        return self.head(self.block(self.embed(series)).mean(dim=1))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.act, self.head = nn.Linear(3, 8), nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 1)

    def forward(self, one, two):
        return self.head(self.act(self.one(one) + self.two(two)))


class Dictionaries(Dataset):
    """Samples are dictionaries, and drawn anew each time."""

    def __init__(self, n):
        self.rows = [{"two": row[:1], "one": row[1:], "y": row.sum(0, keepdim=True)} for row in tensors(4, n=n)[0]]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        row = self.rows[index]
        return {**row, "one": row["one"] + 0.01 * torch.randn(3)}


def two_inputs(n):
    inputs = tensors(4, n=n)[0]
    return TensorDataset(inputs[:, 1:], inputs[:, :1], inputs.sum(dim=1, keepdim=True))
