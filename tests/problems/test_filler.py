import numpy as np
import pytest
import rasterio
import torch
from scenes import SMALL, alter
from torch import nn

import miha
from miha.errors import ArchiveError, DataError
from miha.evolution.seeds import stream
from miha.problems.filler import Filler
from miha.problems.gapfill import GapFill
from miha.rasters.stack import list_rasters, read_scene
from miha.records.archive import archive_path
from miha.report.evaluate import evaluate


@pytest.fixture(scope="module")
def trained(simulated, tmp_path_factory):
    """The directory of a small finished run."""
    run_dir = tmp_path_factory.mktemp("runs") / "run"
    config = miha.RunConfig.model_validate(
        {
            "run_dir": run_dir,
            "run": {"workers": 1},
            "schedule": {
                "initial_epochs": 1,
                "cycles": 1,
                "population_size": 2,
                "candidate_epochs": 1,
                "fixing_epochs": 1,
            },
        }
    )
    miha.optimize(GapFill(data=simulated, **SMALL), config)
    return run_dir


@pytest.mark.parametrize("network", ["unet", "autoencoder"])
def test_both_networks_learn_and_fill(simulated, tmp_path, network):
    config = miha.RunConfig.model_validate(
        {
            "run_dir": tmp_path / "run",
            "run": {"workers": 1},
            "schedule": {"initial_epochs": 2, "cycles": 0, "final_epochs": 1},
        }
    )
    run = miha.optimize(GapFill(data=simulated, network=network, **SMALL), config)
    filler = Filler(run.model, simulated)
    source = list_rasters(simulated / "gapped")[0]
    filler.fill(source, tmp_path / "out" / source.name)
    assert not read_scene(tmp_path / "out" / source.name).gaps.any()


class Pointwise(GapFill):
    """Gap filling with a network of one's own."""

    def build_network(self):
        network = nn.Sequential(nn.LazyConv2d(4, 1), nn.ReLU(), nn.LazyConv2d(1, 1), nn.Flatten(1, 2))
        network(torch.zeros(1, super().build_network().encoder[0][0].in_channels, 4, 4))
        return network


def test_a_subclass_trains_and_fills_with_its_own_network(small_fill, simulated, tmp_path):
    config = small_fill()
    run = miha.optimize(Pointwise(data=simulated, **SMALL), config)
    assert run.best.hyperparameters.activations.keys() == {"1"}
    assert (run.run_dir / "report.html").read_text().count("data:image/png") == 4
    source = list_rasters(simulated / "gapped")[0]
    Filler(run.model, simulated).fill(source, tmp_path / "out" / source.name)
    assert not read_scene(tmp_path / "out" / source.name).gaps.any()
    assert set(evaluate(run.run_dir, simulated)[0]["methods"]) == {"mean_plus_offset", "ridge", "trees"}


def test_a_scene_is_filled_by_the_mean_of_four_opinions_on_a_guess_and_a_mirroring_each(trained, simulated):
    filler = Filler(archive_path(trained, "best"), simulated)
    path = list_rasters(simulated / "gapped")[0]
    scene, background = filler.read(path).values, filler.background(path)

    def opinion(number, mirroring):
        encoded = filler.problem.encode(
            scene, background, filler.static, filler.normalisation, stream(filler.seed, "fill", number)
        )
        inputs = torch.from_numpy(encoded.channels)[None]
        with torch.inference_mode():
            output = mirroring(filler.network(mirroring(inputs)))[0].numpy()
        return encoded.base + encoded.scale * output

    mirrorings = (lambda x: x, lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.flip(-1, -2))
    opinions = [opinion(number, mirroring) for number, mirroring in enumerate(mirrorings)]
    assert np.allclose(filler.predict(scene, background), np.mean(opinions, axis=0), atol=1e-4)
    assert np.abs(opinions[0] - opinions[1]).max() > 1e-2


def test_filled_bits_depend_on_the_scene_history_and_static_alone(trained, scenes, tmp_path):
    """Altering truth and the sibling scenes changes nothing; nor does filling all of them at once."""
    archive, sources = archive_path(trained, "best"), list_rasters(scenes / "gapped")
    chosen = sources[3]
    Filler(archive, scenes).fill(chosen, tmp_path / "before" / chosen.name)
    Filler(archive, scenes).fill_all(sources, tmp_path / "together")
    for path in [*list_rasters(scenes / "truth"), *(path for path in sources if path != chosen)]:
        alter(path)
    Filler(archive, scenes).fill(chosen, tmp_path / "after" / chosen.name)
    bits = [(tmp_path / name / chosen.name).read_bytes() for name in ("before", "together", "after")]
    assert bits[0] == bits[1] == bits[2]


def test_a_scene_of_the_history_is_filled_without_its_own_day(trained, simulated, tmp_path):
    filler = Filler(archive_path(trained, "best"), simulated)
    source = max(list_rasters(simulated / "history"), key=lambda path: read_scene(path).gaps.mean() % 0.9)
    assert len(filler.background(source).offsets) == len(filler.sources.history) - 1
    filler.fill(source, tmp_path / source.name)
    assert not read_scene(tmp_path / source.name).gaps.any()


def test_a_scene_that_cannot_be_filled_is_named_before_any_is_written(trained, scenes, tmp_path):
    filler = Filler(archive_path(trained, "best"), scenes)
    sources = list_rasters(scenes / "gapped")

    with rasterio.open(sources[-1], "r+") as raster:
        raster.write(np.zeros((1, 32, 32), np.uint16))
    with pytest.raises(DataError, match=rf"{sources[-1].name} has 0 valid pixels"):
        filler.fill_all(sources, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_archive_made_for_other_inputs_is_refused(trained, scenes):
    (scenes / "static" / "landcover.tif").unlink()
    with pytest.raises(ArchiveError, match="made for other inputs: static layers"):
        Filler(archive_path(trained, "best"), scenes)


def test_an_archive_of_another_problem_is_refused(tiny, tiny_config, simulated):
    run = miha.optimize(tiny, tiny_config())
    with pytest.raises(ArchiveError, match="only gapfill archives fill scenes"):
        Filler(run.model, simulated)
