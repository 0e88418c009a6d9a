import pytest
import torch
from torch import nn

import miha
from miha.errors import ArchiveError
from miha.records.archive import read_archive
from tests.support.tiny import TinyNet, TinyProblem

AS_WRITTEN = {"body.first.1": "ReLU", "act": "Tanh"}  # activations of the network


class WiderNet(TinyNet):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(16, 2)


class WiderProblem(TinyProblem):
    outputs: int = 2

    def build_network(self):
        return WiderNet()


class DeeperNet(TinyNet):
    def __init__(self):
        super().__init__()
        self.last = nn.ReLU()


class DeeperProblem(TinyProblem):
    def build_network(self):
        return DeeperNet()


@pytest.fixture
def earlier(tiny_config):
    """The best model of an earlier run, whose population changed activations alone."""
    run = miha.optimize(tiny_config("earlier", search={"operators": {"activation": 1}}, fitness={"noise": 0}))
    return run.run_dir / "model/model_best.zip"


def test_a_run_starts_from_the_weights_and_activations_of_a_pretrained_network(tiny_config, earlier):
    run = miha.optimize(tiny_config("later", seed=5, pretrained=earlier))
    before, base = read_archive(earlier), read_archive(run.run_dir / "model/model_base.zip")
    assert all(torch.equal(base.weights[name], weights) for name, weights in before.weights.items())
    assert base.manifest.record.hyperparameters.activations == before.manifest.record.hyperparameters.activations
    assert base.manifest.record.hyperparameters.activations != AS_WRITTEN
    assert base.manifest.record.valid_loss == before.manifest.record.valid_loss
    assert run.history.valid_loss[1] != pytest.approx(miha.optimize(tiny_config("drawn", seed=5)).history.valid_loss[1])


def test_a_run_from_another_pretrained_network_is_another_run(tiny_config, earlier):
    miha.optimize(tiny_config())
    with pytest.raises(miha.MihaError, match="pretrained_digest"):
        miha.optimize(tiny_config(pretrained=earlier))


def test_an_archive_of_another_network_is_refused_with_the_settings_that_differ(tiny_config, earlier):
    with pytest.raises(ArchiveError, match=r"size mismatch for head(?s:.*)outputs None there, 2 here"):
        miha.optimize(tiny_config("wider", problem=WiderProblem(), pretrained=earlier))
    with pytest.raises(ArchiveError, match=r"this one at body\.first\.1, act, last"):
        miha.optimize(tiny_config("deeper", problem=DeeperProblem(), pretrained=earlier))
    assert not (earlier.parents[2] / "wider").exists()


def test_a_missing_archive_is_named(tiny_config, tmp_path):
    with pytest.raises(ArchiveError, match=r"no such archive: .*nowhere\.zip"):
        miha.optimize(tiny_config(pretrained=tmp_path / "nowhere.zip"))
