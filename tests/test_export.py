"""A trained network without MIHA: its outputs are ours."""

import sys

import onnxruntime
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import miha
from flows.cli import app
from miha.errors import ArchiveError, ConfigError
from miha.export import export
from miha.problems.evaluation import configure, trained_network
from miha.records.archive import read_archive, write_archive
from tests.support.tiny import TinyNet, TinyProblem
from tests.support.tuned import Attending, Dictionaries, Recurrent, TwoInputs, mae, normalised, of_tensors, two_inputs

SAME = {"atol": 1e-5, "rtol": 0}


def trained(tmp_path, build, data):
    return miha.tune(
        build=build,
        **data,
        loss=nn.functional.mse_loss,
        metric=mae,
        epochs=7,
        run_dir=tmp_path / "run",
        run={"workers": 1},
        show=False,
        search={"operators": {"activation": 1}},
    )


def convolved():
    return nn.Sequential(
        *(nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 6, 3), nn.ReLU(inplace=True)),
        *(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 1)),
    )


def both(n):
    return {"train": two_inputs(n), "valid": two_inputs(n)}


CASES = {
    "batch normalisation": (normalised, of_tensors(4), (torch.rand(5, 4),)),
    "LSTM": (Recurrent, of_tensors(5, 2), (torch.rand(5, 5, 2),)),
    "transformer": (Attending, of_tensors(5, 2), (torch.rand(7, 9, 2),)),
    "several inputs": (TwoInputs, both(20), (torch.rand(3, 3), torch.rand(3, 1))),
}


@pytest.mark.slow
@pytest.mark.parametrize(("build", "data", "inputs"), CASES.values(), ids=CASES)
def test_programs_of_pytorch_and_onnx_compute_what_the_run_s_network_does(tmp_path, build, data, inputs):
    run = trained(tmp_path, build, data)
    with torch.no_grad():
        expected = run.network()(*inputs)
    export(run.model, tmp_path / "net.pt2")
    assert torch.allclose(torch.export.load(tmp_path / "net.pt2").module()(*inputs), expected, **SAME)
    export(run.model, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    given = {put.name: value.numpy() for put, value in zip(session.get_inputs(), inputs, strict=True)}
    assert torch.allclose(torch.from_numpy(session.run(None, given)[0]), expected, **SAME)


@pytest.mark.slow
def test_channels_of_two_activations_are_exported_as_they_were_mixed(tmp_path):
    run = trained(tmp_path, convolved, of_tensors(4))
    inputs, layers = torch.rand(5, 4), {"2": "ReLU+Tanh#3", "5": "Tanh+GELU#5"}
    archive = read_archive(run.model)
    record = archive.manifest.record
    point = record.hyperparameters.model_copy(update={"activations": layers})
    changed = archive.manifest.model_copy(update={"record": record.model_copy(update={"hyperparameters": point})})
    mixed = run.run_dir / "model" / "model_mixed.zip"
    write_archive(mixed, changed, archive.weights, archive.optimizer)
    network = convolved()
    network.load_state_dict(archive.weights)
    configure(network, point)
    with torch.no_grad():
        expected = network(inputs)
    export(mixed, tmp_path / "net.pt2")
    assert torch.allclose(torch.export.load(tmp_path / "net.pt2").module()(inputs), expected, **SAME)
    export(mixed, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    found = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})[0]
    assert torch.allclose(torch.from_numpy(found), expected, **SAME)


@pytest.mark.slow
def test_inputs_by_name_are_exported_by_name(tmp_path):
    run = trained(tmp_path, TwoInputs, {"train": Dictionaries(20), "valid": Dictionaries(20), "target": "y"})
    export(run.model, tmp_path / "net.pt2")
    inputs = {"one": torch.rand(4, 3), "two": torch.rand(4, 1)}
    found = torch.export.load(tmp_path / "net.pt2").module()(**inputs)
    assert torch.allclose(found, run.network()(**inputs), **SAME)


@pytest.mark.slow
def test_a_model_of_a_problem_of_one_s_own_is_exported_by_the_command(tiny_config, tmp_path):
    run = miha.optimize(tiny_config())
    result = CliRunner().invoke(app, ["export", str(run.model), "--out", str(tmp_path / "net.pt2")])
    assert result.exit_code == 0, result.output
    inputs = torch.rand(9, 2)
    ours = trained_network(TinyProblem(), read_archive(run.model))
    assert torch.allclose(torch.export.load(tmp_path / "net.pt2").module()(inputs), ours(inputs), **SAME)


def test_a_state_dict_is_read_by_pytorch_alone(tiny_config, tmp_path):
    run = miha.optimize(tiny_config())
    command = ["export", str(run.model), "--out", str(tmp_path / "weights.bin"), "--format", "pt"]
    assert CliRunner().invoke(app, command).exit_code == 0
    weights = torch.load(tmp_path / "weights.bin", weights_only=True)
    TinyNet().load_state_dict(weights)
    assert torch.equal(weights["head.weight"], read_archive(run.model).weights["head.weight"])


def branching():
    return Branching()


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.act = nn.Linear(4, 1), nn.ReLU()

    def forward(self, inputs):
        return self.act(self.layer(inputs)) if inputs.sum() > 0 else self.layer(inputs)


def test_what_cannot_be_exported_is_reported_and_leaves_no_file(tmp_path, monkeypatch):
    run = trained(tmp_path, branching, of_tensors(4))
    with pytest.raises(ConfigError, match=r"cannot export the network of .*without branches on values"):
        export(run.model, tmp_path / "net.pt2")
    with pytest.raises(ConfigError, match="no format 'h5'"):
        export(run.model, tmp_path / "net.h5")
    assert not list(tmp_path.glob("net*"))
    moved = run.model.rename(tmp_path / "model.zip")
    with pytest.raises(ArchiveError, match=r"problem_.*\.pkl is missing: .*--data"):
        export(moved, tmp_path / "net.pt2")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ModuleNotFoundError, match="onnxscript"):
        export(moved, tmp_path / "net.onnx", data=run.run_dir)
