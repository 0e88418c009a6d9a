import numpy as np
import pytest
import rasterio
import torch
from torch import nn

import miha
from miha.errors import ArchiveError, DataError
from miha.events import Message, observed_by
from miha.evolution.seeds import stream
from miha.gapfill.base import PROCESS, blend, fill_base, process_of
from miha.gapfill.guess import guess_scene
from miha.gapfill.network_filler import NetworkFiller
from miha.gapfill.options import FillOptions
from miha.gapfill.predictors import Background
from miha.gapfill.problem import GapFill
from miha.gapfill.regressions import GuessSettings
from miha.gapfill.shrinkage import SHARES
from miha.rasters.stack import list_rasters, read_scene
from miha.records.archive import read_archive, write_archive
from miha.records.record import model_path
from miha.report.evaluate import evaluate
from tests.support.filling import small_run
from tests.support.rasters import counted_reads, write
from tests.support.scenes import SMALL, alter


@pytest.mark.parametrize("network", ["unet", "autoencoder"])
def test_both_networks_learn_and_fill(simulated, tmp_path, network):
    schedule = {"initial_epochs": 2, "cycles": 0, "final_epochs": 1}
    run = small_run(tmp_path / "run", {"data": simulated, "network": network}, schedule=schedule)
    filler = NetworkFiller(run.model, simulated)
    source = list_rasters(simulated / "gapped")[0]
    filler.fill(source, tmp_path / "out" / source.name)
    assert not read_scene(tmp_path / "out" / source.name).gaps.any()
    scene = filler.read(source)
    background = filler.background(scene)
    process = process_of(scene.values, background, filler.static, stream(filler.seed, "fill", PROCESS))
    assert np.array_equal(filler.predict(scene.values, background).std, process.std)


def test_a_run_may_say_how_sure_a_fill_must_be_and_the_one_who_fills_something_else(simulated, tmp_path):
    schedule = {"initial_epochs": 1, "cycles": 0, "final_epochs": 1}
    run = small_run(tmp_path / "run", {"data": simulated, "max_std": 0.0}, schedule=schedule)
    filler, source = NetworkFiller(run.model, simulated), list_rasters(simulated / "gapped")[0]
    filler.fill(source, tmp_path / source.name)
    assert np.array_equal(read_scene(tmp_path / source.name).gaps, read_scene(source).gaps)
    filler.fill(source, tmp_path / "out" / source.name, FillOptions(max_std=1e6))
    assert not read_scene(tmp_path / "out" / source.name).gaps.any()


@pytest.fixture(scope="module")
def harmful(simulated, tmp_path_factory):
    """A finished run whose training only made things worse; its network refines the base of filling as it is."""
    problem = {"data": simulated, "trees": GuessSettings().trees}
    schedule = {"initial_epochs": 1, "cycles": 0, "final_epochs": 1}
    run_dir = tmp_path_factory.mktemp("harmful") / "run"
    return small_run(run_dir, problem, schedule=schedule, start={"lr": 1.0})


def test_where_training_does_no_good_the_best_model_fills_with_the_base(harmful, simulated, monkeypatch):
    """Asked once, it answers with the base bit for bit; asked four times, with the mean of four bases."""
    assert harmful.best.name == "base"
    filler = NetworkFiller(harmful.model, simulated)
    assert not filler.corrects
    scene = filler.read(list_rasters(simulated / "gapped")[2])
    gap, background = scene.gaps, filler.background(scene)
    process = process_of(scene.values, background, filler.static, stream(filler.seed, "fill", PROCESS))
    guesses = [
        guess_scene(scene.values, background, filler.static, GuessSettings(), stream(filler.seed, "fill", number)).value
        for number in range(4)
    ]
    mean = np.mean([blend(process.mean, guess, process.calibration) for guess in guesses], axis=0)
    assert np.array_equal(filler.predict(scene.values, background).mean[gap], mean[gap])

    monkeypatch.setattr("miha.gapfill.network_filler.MIRRORINGS", ((),))
    base = fill_base(scene.values, background, filler.static, filler.seed)
    filled = filler.predict(scene.values, background)
    assert filled.mean[gap].tobytes() == base.mean[gap].tobytes()
    assert filled.std.tobytes() == base.std.tobytes()


def test_a_network_that_was_trained_fills_otherwise_than_the_base(run, simulated):
    """Its last model, whichever is the best."""
    filler, base = (NetworkFiller(model_path(run.run_dir, name), simulated) for name in ("final", "base"))
    assert float(filler.network.share) in SHARES
    assert filler.corrects == bool(filler.network.share)
    filler.network.share.fill_(1)
    assert filler.corrects
    assert not base.corrects
    scene = filler.read(list_rasters(simulated / "gapped")[0])
    filled, before = (one.predict(scene.values, one.background(scene)).mean for one in (filler, base))
    assert not np.array_equal(filled, before)
    assert np.abs(filled - before).max() < np.nanstd(scene.values)


class Pointwise(GapFill):
    """Gap filling with a network of one's own."""

    def build_network(self):
        network = nn.Sequential(nn.LazyConv2d(4, 1), nn.ReLU(), nn.LazyConv2d(1, 1), nn.Flatten(1, 2))
        network(torch.zeros(1, super().build_network().encoder[0][0].in_channels, 4, 4))
        return network


def test_a_subclass_trains_and_fills_with_its_own_network(simulated, tmp_path):
    run = small_run(tmp_path / "run", Pointwise(data=simulated, **SMALL))
    assert run.best.hyperparameters.activations.keys() == {"1"}
    assert (run.run_dir / "report.html").read_text().count('<input type="range"') == 3
    source = list_rasters(simulated / "gapped")[0]
    NetworkFiller(run.model, simulated).fill(source, tmp_path / "out" / source.name)
    assert not read_scene(tmp_path / "out" / source.name).gaps.any()
    assert set(evaluate(run.run_dir, simulated)[0]["methods"]) == {"mean_plus_offset", "ridge", "trees", "base"}


def test_the_fill_of_a_network_is_the_mean_of_four_opinions_on_a_base_and_a_mirroring_each(run, simulated):
    filler = NetworkFiller(run.model, simulated)
    path = list_rasters(simulated / "gapped")[0]
    scene = filler.read(path)
    scene, background = scene.values, filler.background(scene)
    process = process_of(scene, background, filler.static, stream(filler.seed, "fill", PROCESS))

    def opinion(number, mirroring):
        rng = stream(filler.seed, "fill", number)
        encoded = filler.problem.encode(scene, background, filler.static, rng, process=process)
        inputs = torch.from_numpy(encoded.channels)[None]
        with torch.inference_mode():
            output = mirroring(filler.network(mirroring(inputs)))[0].mean(dim=0).numpy()
        return encoded.base + encoded.scale * output

    mirrorings = (lambda x: x, lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.flip(-1, -2))
    opinions = [opinion(number, mirroring) for number, mirroring in enumerate(mirrorings)]
    assert np.allclose(filler.predict(scene, background).mean, np.mean(opinions, axis=0), atol=1e-4)
    assert np.abs(opinions[0] - opinions[1]).max() > 1e-2


def test_filled_bits_depend_on_the_scene_history_and_static_alone(run, scenes, tmp_path):
    """Altering truth and the sibling scenes changes nothing; nor does filling all of them at once."""
    archive, sources = run.model, list_rasters(scenes / "gapped")
    chosen = sources[3]
    NetworkFiller(archive, scenes).fill(chosen, tmp_path / "before" / chosen.name)
    NetworkFiller(archive, scenes).fill_all(sources, tmp_path / "together")
    for path in [*list_rasters(scenes / "truth"), *(path for path in sources if path != chosen)]:
        alter(path)
    NetworkFiller(archive, scenes).fill(chosen, tmp_path / "after" / chosen.name)
    bits = [(tmp_path / name / chosen.name).read_bytes() for name in ("before", "together", "after")]
    assert bits[0] == bits[1] == bits[2]


def test_a_scene_of_the_history_is_filled_without_its_own_day(run, simulated, tmp_path):
    filler = NetworkFiller(run.model, simulated)
    source = max(list_rasters(simulated / "history"), key=lambda path: read_scene(path).gaps.mean() % 0.9)
    assert len(filler.background(filler.read(source)).offsets) == len(filler.history) - 1
    filler.fill(source, tmp_path / source.name)
    assert not read_scene(tmp_path / source.name).gaps.any()


def test_a_scene_that_cannot_be_filled_is_named_before_any_is_written(run, scenes, tmp_path):
    filler = NetworkFiller(run.model, scenes)
    sources = list_rasters(scenes / "gapped")

    with rasterio.open(sources[-1], "r+") as raster:
        raster.write(np.zeros((1, 32, 32), np.uint16))
    with pytest.raises(DataError, match=rf"{sources[-1].name} has 0 valid pixels"):
        filler.fill_all(sources, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("layers", [["landcover"], ["landcover", "elevation"]])
def test_a_model_fills_a_data_set_of_other_static_layers_than_it_learned_from(run, scenes, tmp_path, layers):
    source = list_rasters(scenes / "gapped")[0]
    NetworkFiller(run.model, scenes).fill(source, tmp_path / "with" / source.name)
    for layer in layers:
        (scenes / "static" / f"{layer}.tif").unlink()
    filler = NetworkFiller(run.model, scenes)
    filler.fill(source, tmp_path / "without" / source.name)
    with_all, without = (read_scene(tmp_path / folder / source.name) for folder in ("with", "without"))
    assert not without.gaps.any()
    assert not np.array_equal(with_all.values, without.values), "the layers are in the base"


def test_a_network_sees_the_same_of_a_place_whatever_its_unit_and_zero(run, simulated):
    """A model of one data set fills another: all it sees is standardised by the other days."""
    filler = NetworkFiller(run.model, simulated)
    scene = filler.read(list_rasters(simulated / "gapped")[0])
    kelvin = filler.background(scene)
    fahrenheit = Background.of(filler.history.values * 1.8 - 459.67)
    rng = [np.random.default_rng(0) for _ in range(2)]
    one = filler.problem.encode(scene.values, kelvin, filler.static, rng[0])
    other = filler.problem.encode(scene.values * 1.8 - 459.67, fahrenheit, filler.static, rng[1])
    assert other.scale == pytest.approx(1.8 * one.scale, rel=1e-3)
    assert np.median(np.abs(one.channels - other.channels)) < 1e-3  # some trees split otherwise
    assert np.median(np.abs(one.base * 1.8 - 459.67 - other.base)) < 0.05


def test_an_archive_of_another_problem_is_refused(tiny, tiny_config, simulated):
    run = miha.optimize(tiny_config())
    with pytest.raises(ArchiveError, match="only gapfill archives fill scenes"):
        NetworkFiller(run.model, simulated)


def test_a_scene_on_another_grid_is_named_with_the_remedy(run, simulated, tmp_path):
    other = write(tmp_path / "20210507.tif", np.ones((32, 30), np.float32))
    with pytest.raises(DataError, match=r"20210507\.tif does not fit .*history: its shape is 32x30.*gdalwarp"):
        NetworkFiller(run.model, simulated).read(other)


def test_a_scene_without_enough_other_days_is_reported_before_it_is_filled(run, scenes, tmp_path):
    source = list_rasters(scenes / "gapped")[0]
    first, *others = list_rasters(scenes / "history")
    for path in others:
        path.unlink()
    with pytest.raises(
        DataError, match=r"has 1 day beside 2021-05-07; a network needs at least 2\. Fill without a model"
    ):
        NetworkFiller(run.model, scenes).plan([source], tmp_path / "out")
    assert first.exists()


@pytest.mark.parametrize("key", ["split", "seed"])
def test_an_archive_without_what_filling_needs_is_refused(run, simulated, tmp_path, key):
    manifest, weights, optimizer = read_archive(run.model)
    poorer = {name: value for name, value in manifest.extras.items() if name != key}
    write_archive(tmp_path / "poorer.zip", manifest.model_copy(update={"extras": poorer}), weights, optimizer)
    with pytest.raises(ArchiveError, match=rf"poorer\.zip lacks settings that filling needs: .*{key}"):
        NetworkFiller(tmp_path / "poorer.zip", simulated)


def test_what_was_filled_is_reported(run, simulated, tmp_path):
    source = list_rasters(simulated / "gapped")[0]
    events = []
    with observed_by(events.append):
        NetworkFiller(run.model, simulated).fill(source, tmp_path / source.name)
    assert events == [Message(f"{tmp_path / source.name}: {read_scene(source).gaps.sum()} pixels filled")]


def test_several_scenes_of_a_day_are_read_once_and_share_one_background(run, scenes, tmp_path, monkeypatch):
    """Each is read to the end once more when it is copied, with its gaps filled."""
    filler, fitted, of = NetworkFiller(run.model, scenes), [], Background.of
    monkeypatch.setattr(Background, "of", lambda values: fitted.append(len(values)) or of(values))
    sources = list_rasters(scenes / "gapped")
    with counted_reads() as planning:
        plan = filler.plan(sources, tmp_path / "out")
    assert planning == {f"gapped/{source.name}": 1 for source in sources}
    assert fitted == []
    with counted_reads() as filling:
        for source, target in plan.items():
            filler.fill(source, target)
    assert {name: count for name, count in filling.items() if name.startswith("gapped/")} == planning
    assert not any(name.startswith(("history/", "static/")) for name in filling)
    assert fitted == [len(filler.history)]


def test_scenes_that_are_together_too_large_for_memory_are_read_again(run, simulated, tmp_path, monkeypatch):
    sources = list_rasters(simulated / "gapped")[:3]
    monkeypatch.setattr("miha.gapfill.filler.IN_MEMORY", 2.5 * 32 * 32)
    filler = NetworkFiller(run.model, simulated)
    plan = filler.plan(sources, tmp_path / "out")
    with counted_reads() as filling:
        for source, target in plan.items():
            filler.fill(source, target)
    assert [filling[f"gapped/{source.name}"] for source in sources] == [1, 1, 2], "each once more as it is copied"


def test_a_day_after_another_gets_a_background_of_its_own(run, simulated):
    filler = NetworkFiller(run.model, simulated)
    first, second, *_ = list_rasters(simulated / "history")
    one = filler.background(filler.read(first))
    assert filler.background(filler.read(first)) is one
    assert not np.array_equal(filler.background(filler.read(second)).level, one.level)
