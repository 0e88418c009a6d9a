import json

import pytest
import rasterio
import torch

from miha.errors import DataError
from miha.events import observed_by
from miha.gapfill.days import MIN_TARGETS, MIN_VISIBLE
from miha.gapfill.problem import GapFill
from miha.gapfill.samples import SampleFile
from miha.problems.evaluation import validate
from miha.rasters.stack import list_rasters
from tests.support.filling import in_order, load
from tests.support.scenes import SMALL, alter


def test_a_sample_is_a_day_with_a_gap_and_counts_only_hidden_pixels_of_known_truth(problem, tmp_path):
    data = load(problem, tmp_path)
    inputs, target, mask = data.train.tensors
    assert inputs.shape == (6, problem.build_network().encoder[0][0].in_channels, 32, 32)
    visible = inputs[:, 0]
    hidden = mask.amax(dim=1)
    assert not (visible.bool() & hidden.bool()).any()
    assert (target[hidden == 0] == 0).all()
    assert (hidden.sum(dim=(1, 2)) >= MIN_TARGETS).all()
    assert (visible.sum(dim=(1, 2)) >= MIN_VISIBLE).all()


def test_samples_are_drawn_once_per_run_and_by_its_seed(problem, tmp_path):
    one, again = load(problem, tmp_path / "a"), load(problem, tmp_path / "b")
    other = load(problem, tmp_path / "c", seed=1)
    assert torch.equal(one.train.tensors.inputs, again.train.tensors.inputs)
    assert not torch.equal(one.train.tensors.inputs, other.train.tensors.inputs)
    files = list((tmp_path / "a").iterdir())
    before = files[0].stat().st_mtime_ns
    load(problem, tmp_path / "a")
    assert files[0].stat().st_mtime_ns == before


def test_validation_samples_of_one_day_lie_side_by_side_and_are_one_block(simulated, tmp_path):
    problem = GapFill(data=simulated, **SMALL | {"members": 1, "valid_samples": 5, "valid_fraction": 0.3})
    days = problem.split(0).validating
    assert len(days) == 3
    assert problem.valid_days(0) == [days[0]] * 2 + [days[1]] * 2 + [days[2]]
    blocks = load(problem, tmp_path).valid.blocks
    assert blocks == [2, 2, 1]


def test_more_validation_days_than_samples_give_each_sample_a_day_of_its_own(simulated, tmp_path):
    problem = GapFill(data=simulated, **SMALL | {"members": 1, "valid_samples": 2, "valid_fraction": 0.35})
    days = problem.valid_days(0)
    assert len(set(days)) == 2
    assert set(days) < set(problem.split(0).validating)
    assert load(problem, tmp_path).valid.blocks == [1, 1]


def test_a_validation_day_decides_its_own_samples_and_those_of_no_other_day(scenes, tmp_path):
    settings = SMALL | {"members": 1, "valid_samples": 5, "valid_fraction": 0.3}
    problem = GapFill(data=scenes, **settings)
    before, days = load(problem, tmp_path / "before").valid, problem.valid_days(0)
    altered = days[2]
    with rasterio.open(scenes / "history" / f"{altered.replace('-', '')}.tif", "r+") as raster:
        raster.write(raster.read()[:, ::-1])
    after = load(GapFill(data=scenes, **settings), tmp_path / "after").valid
    same = [torch.equal(one, other) for one, other in zip(before.tensors.inputs, after.tensors.inputs, strict=True)]
    assert same == [day != altered for day in days]
    network = problem.build_network()
    shares = [validate(network, problem, samples).shares for samples in (before, after)]
    assert len(shares[0]) == len(shares[1]) == 3
    assert shares[0][1] != shares[1][1]


def test_gaps_of_a_validation_day_are_of_different_sizes(simulated, tmp_path):
    problem = GapFill(data=simulated, **SMALL | {"members": 1, "valid_samples": 12})
    valid = load(problem, tmp_path).valid
    sizes = valid.tensors.mask.mean(dim=(1, 2, 3)).split(valid.blocks)
    assert all(float(day.max() - day.min()) > 0.3 for day in sizes)


def test_the_loss_of_an_untrained_network_is_the_error_of_the_base(problem, tmp_path):
    valid = load(problem, tmp_path).valid
    _, target, mask = valid.tensors
    loss = validate(problem.build_network(), problem, valid).loss
    assert loss == pytest.approx(float((target.abs()[:, None] * mask).sum() / mask.sum()), rel=1e-5)


def test_the_error_on_a_day_counts_for_the_networks_that_learn_from_it_and_in_validation_for_the_others(
    simulated, tmp_path
):
    problem = GapFill(data=simulated, **SMALL | {"members": 4, "train_samples": 12, "valid_samples": 12})
    data = load(problem, tmp_path)
    valid = data.valid.tensors.mask.amax(dim=(2, 3))
    for counts, day in zip(valid.tolist(), problem.valid_days(0), strict=True):
        assert counts == [not learns for learns in problem.split(0).learning(day)]
    assert (valid.sum(dim=1) == 2).all()
    train = data.train.tensors.mask.amax(dim=(2, 3))
    assert (train.sum(dim=1) == 2).all()
    assert train.amin(dim=0).tolist() == [0] * 4  # none learns from all


def test_data_that_change_while_samples_are_made_are_reported_and_no_sample_is_kept(scenes, tmp_path):
    def altering(function, items):
        made = in_order(function, items)
        alter(list_rasters(scenes / "history")[0])
        return made

    with pytest.raises(DataError, match="changed while samples were made"):
        GapFill(data=scenes, **SMALL).prepare(tmp_path / "cache", 0, altering)
    assert not (tmp_path / "cache").exists()


def test_nothing_of_the_validation_days_of_a_single_network_enters_training_samples(scenes, tmp_path):
    """Neither as a target, nor as a predictor, nor through the normalisation."""
    problem = GapFill(data=scenes, **SMALL, members=1)
    before = load(problem, tmp_path / "before").train.tensors
    for day in problem.split(0).validating:
        alter(scenes / "history" / f"{day.replace('-', '')}.tif")
    after = load(GapFill(data=scenes, **SMALL, members=1), tmp_path / "after").train.tensors
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_training_reads_history_and_static_alone(scenes, tmp_path):
    problem = GapFill(data=scenes, **SMALL)
    before = load(problem, tmp_path / "before").train.tensors
    for folder in ("truth", "gapped"):
        for path in list_rasters(scenes / folder):
            alter(path)
    after = load(GapFill(data=scenes, **SMALL), tmp_path / "after").train.tensors
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert problem.fingerprint() == GapFill(data=scenes, **SMALL).fingerprint()


def test_scenes_larger_than_a_patch_are_cropped_around_hidden_pixels(simulated, tmp_path):
    data = load(GapFill(data=simulated, patch=16, **SMALL), tmp_path)
    assert data.train.tensors.inputs.shape[-2:] == (16, 16)
    assert (data.train.tensors.mask.sum(dim=(1, 2, 3)) > 0).all()


def test_samples_outlive_a_setting_that_does_not_decide_them_and_no_other(simulated, tmp_path):
    def made(**settings):
        GapFill(data=simulated, **{**SMALL, **settings}).prepare(tmp_path, 0, in_order)
        return (tmp_path / "samples.safetensors").stat().st_mtime_ns

    first = made()
    assert made(width=5, levels=1, loss="mse", window=16, flips=False) == first
    assert made(analogues=2) != first


def held(data):
    """Training samples in memory: those of the file are mapped, and a test is about to damage it."""
    return [part.clone() for part in data.train.tensors]


WITHOUT_KEY = [json.dumps({"key": "k", "checksum": "c", "extras": {}} | {gone: 1}) for gone in ("key", "extras")]


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff", "{}", *WITHOUT_KEY])
def test_samples_whose_description_is_damaged_are_made_anew_without_a_word(problem, tmp_path, content, caplog):
    before, events = held(load(problem, tmp_path)), []
    described = (tmp_path / "samples.json").read_bytes()
    (tmp_path / "samples.json").write_bytes(content.encode("latin-1"))
    (tmp_path / "samples.safetensors").write_bytes(b"")
    with observed_by(events.append):
        after = load(problem, tmp_path).train.tensors
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert (tmp_path / "samples.json").read_bytes() == described
    assert not events
    assert not caplog.records


@pytest.mark.parametrize("damage", ["truncated", "altered", "gone"])
def test_samples_that_are_damaged_are_made_anew(problem, tmp_path, damage):
    before = held(load(problem, tmp_path))
    file = tmp_path / "samples.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-100] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    if damage == "gone":
        file.unlink()
    after = load(problem, tmp_path).train.tensors
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_a_description_that_is_damaged_once_samples_are_in_use_is_reported_with_the_remedy(problem, tmp_path):
    load(problem, tmp_path)
    (tmp_path / "samples.json").write_text('{"key": "k", "checksum": "c"}')
    with pytest.raises(DataError, match=r"samples\.json is damaged: extras: .*Remove it: samples are then made anew"):
        SampleFile(tmp_path).extras()


def test_archives_carry_what_filling_needs(problem, tmp_path):
    load(problem, tmp_path, seed=4)
    extras = problem.extras(tmp_path, 4)
    assert (extras["unit"], extras["seed"], extras["simulated"]) == ("K", 4, True)
    assert extras["split"] == problem.split(4).model_dump(mode="json")
