import shutil

import numpy as np
import pytest

from miha.errors import DataError
from miha.gapfill.assess import assess
from miha.gapfill.network_filler import NetworkFiller
from miha.gapfill.pretraining import Pretraining
from miha.gapfill.problem import GapFill
from miha.rasters.simulate import simulate
from miha.records.archive import read_archive
from tests.support.filling import load, small_run
from tests.support.scenes import SMALL


@pytest.fixture(scope="module")
def many(tmp_path_factory, simulated):
    """A folder of two data sets of different sizes."""
    folder = tmp_path_factory.mktemp("many")
    shutil.copytree(simulated, folder / "first")
    simulate(folder / "second", days=8, height=40, width=36, seed=4)
    return folder


def pretraining(folder, **settings):
    return Pretraining(data=folder, **{**SMALL, "patch": 32, **settings})


def test_each_data_set_gives_as_many_samples_as_it_would_give_alone(many, tmp_path):
    data = load(pretraining(many), tmp_path / "cache")
    alone = load(
        GapFill(data=many / "second", patch=32, **{**SMALL, "train_samples": 3, "valid_samples": 2}), tmp_path / "alone"
    )
    assert (len(data.train), len(data.valid), sum(data.valid.blocks)) == (6, 4, 4)
    assert np.array_equal(data.train.tensors.inputs[3:], alone.train.tensors.inputs)
    assert np.array_equal(data.valid.tensors.target[2:], alone.valid.tensors.target)


def test_a_network_of_many_data_sets_fills_another_and_another_run_starts_from_it(many, tmp_path):
    run = small_run(tmp_path / "pretrained", pretraining(many, leave_out=("first",)))
    assert run.history.valid_loss.notna().all()
    filler = NetworkFiller(run.model, many / "first")
    assert (filler.unit, filler.learned) == ("K", set())
    assessment = assess(many / "first", gaps=2, processes=1, model=run.model)
    assert "network" in assessment.methods
    later = small_run(
        tmp_path / "later", {"data": many / "first"}, pretrained=run.model, schedule={"initial_epochs": 1, "cycles": 0}
    )
    before, base = read_archive(run.model), read_archive(later.run_dir / "model/model_base.zip")
    assert all(np.array_equal(base.weights[name], weights) for name, weights in before.weights.items())


def test_a_folder_that_does_not_serve_is_reported(many, tmp_path):
    with pytest.raises(DataError, match="holds no data set to learn from"):
        pretraining(tmp_path).fingerprint()
    with pytest.raises(DataError, match="no data set third to leave out; it has first, second"):
        pretraining(many, leave_out=("third",)).fingerprint()
    with pytest.raises(DataError, match=r"first has scenes of 32x32 pixels; problem\.patch is 64"):
        pretraining(many, patch=64).fingerprint()
