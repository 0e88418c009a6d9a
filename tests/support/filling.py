"""What tests of gap filling share: a small finished run, its samples, broken models and maps of other methods."""

import shutil

import numpy as np
import rasterio

import miha
from miha.config import make_config
from miha.rasters.stack import list_rasters
from miha.records.archive import read_archive, write_archive
from tests.support.scenes import SMALL

SCHEDULE = {"initial_epochs": 1, "cycles": 1, "population_size": 3, "candidate_epochs": 1, "fixing_epochs": 1}


def small_run(run_dir, problem, **sections):
    """Train a tiny network in a second or two; ``problem`` is a problem, or the settings of gap filling."""
    problem = {**SMALL, **problem} if isinstance(problem, dict) else problem
    content = {"schedule": SCHEDULE, "run": {"workers": 1}, **sections}
    return miha.optimize(make_config({"run_dir": run_dir, "problem": problem, **content}))


def in_order(function, items):
    """What ``prepare`` wants to compute with, in this process."""
    return [function(item) for item in items]


def load(problem, cache, seed=0):
    """Make samples and read them."""
    problem.prepare(cache, seed, in_order)
    return problem.load(cache, seed)


def without_truth(data):
    """Leave history and static layers alone in a data set."""
    for folder in ("truth", "gapped", "published"):
        shutil.rmtree(data / folder, ignore_errors=True)


def write_broken(archive, target):
    """Write a model like that of ``archive`` whose weights are no numbers."""
    manifest, weights, optimizer = read_archive(archive)
    broken = {name: weight * float("nan") if weight.is_floating_point() else weight for name, weight in weights.items()}
    write_archive(target, manifest, broken, optimizer)


def publish_maps(data, method, change=0.0):
    """Maps of a published method, the truth and a constant, for each gapped scene; returns their paths."""
    with rasterio.open(list_rasters(data / "truth")[0]) as raster:
        stored = raster.read() + np.round(change / raster.scales[0]).astype(raster.dtypes[0])
    for path in list_rasters(data / "gapped"):
        target = data / "published" / method / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        with rasterio.open(target, "r+") as raster:
            raster.write(stored)
    return sorted((data / "published" / method).iterdir())


def add_quality_files(data):
    """Put ``<name>_qa.tif`` beside each scene, 0 where it is clear and 1 in its upper rows; returns the rule."""
    for path in [path for folder in ("history", "gapped", "truth") for path in list_rasters(data / folder)]:
        with rasterio.open(path) as raster:
            profile, quality = raster.profile, np.zeros(raster.shape, np.uint8)
        quality[:4] = 1
        with rasterio.open(path.with_name(f"{path.stem}_qa.tif"), "w", **profile | {"dtype": "uint8"}) as layer:
            layer.write(quality, 1)
    return {"file": "{name}_qa.tif", "values": [0]}
