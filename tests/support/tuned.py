"""Small data and a small network for ``miha.tune``."""

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

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
