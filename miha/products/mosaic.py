"""One day of a stack: its scenes laid over each other, window by window, and written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window

from miha.errors import StorageError
from miha.products.grid import Reader, StackGrid
from miha.products.product import Daily, Recipe, Storage
from miha.rasters.layout import write_cloud_optimized
from miha.rasters.scene import RANGE_TAG
from miha.rasters.verify import verify_raster
from miha.rasters.window import Image


@dataclass(frozen=True)
class Layer:
    """A scene on the grid of the stack, read by windows; its unit, and in that its product's valid range."""

    read: Reader
    unit: str
    valid_range: tuple[float, float] | None = None


def mosaicked(layers: Sequence[Layer], daily: Daily, grid: StackGrid) -> Iterator[tuple[Window, Image]]:
    """Windows of a day, of one or several scenes.

    Args:
        layers: the scenes, in the order of their names.
        daily: first or best: the others fill the gaps of that scene, in their order or by what they show; mean: of all
            that a pixel has.
        grid: of the stack.
    """
    if daily == "best" and len(layers) > 1:
        layers = sorted(layers, key=lambda layer: -_seen(layer, grid))
    for window in grid.windows():
        values = layers[0].read(window)
        if daily == "mean" and len(layers) > 1:
            total, number = np.nan_to_num(values).astype(np.float64), (~np.isnan(values)).astype(np.int32)
            for layer in layers[1:]:
                other = layer.read(window)
                total += np.nan_to_num(other)
                number += ~np.isnan(other)
            values = np.where(number, total / np.maximum(number, 1), np.nan).astype(np.float32)
        else:
            for layer in layers[1:]:
                gaps = np.isnan(values)
                if gaps.any():
                    values = np.where(gaps, layer.read(window), values)
        yield window, values


def _seen(layer: Layer, grid: StackGrid) -> int:
    return sum(int(np.count_nonzero(~np.isnan(layer.read(window)))) for window in grid.windows())


def write_day(
    windows: Iterator[tuple[Window, Image]],
    grid: StackGrid,
    recipe: Recipe,
    like: Layer,
    tags: dict[str, str],
    target: Path,
    work: Path,
) -> int:
    """Write a day as a cloud optimized GeoTIFF; returns how many pixels it shows.

    Args:
        windows: values in the unit, NaN where missing, of all of the grid.
        grid: of the stack.
        recipe: how numbers are stored, and overviews made.
        like: whose unit and valid range the day has.
        tags: of the file.
        target: where to write.
        work: folder for a copy that is not compressed.

    Raises:
        StorageError: the disk is full or refuses.
    """
    store, plain = recipe.store, work / "day.tif"
    profile: dict[str, Any] = {"driver": "GTiff", "tiled": True, "bigtiff": "if_safer"}
    profile |= {"dtype": store.dtype, "count": 1}
    profile |= {"crs": grid.crs, "transform": grid.transform, "height": grid.height, "width": grid.width}
    profile["nodata"] = np.nan if store.nodata is None else store.nodata
    seen = 0
    try:
        with rasterio.open(plain, "w", **profile) as output:
            output.scales, output.offsets, output.units = (store.scale,), (store.offset,), (like.unit,)
            output.update_tags(**tags)
            if like.valid_range:
                output.update_tags(1, **{RANGE_TAG: "{} {}".format(*like.valid_range)})
            for window, values in windows:
                numbers, visible = stored(values, store)
                seen += int(np.count_nonzero(visible))
                output.write(numbers, 1, window=window)
        resampling = Resampling.nearest if recipe.resampling in ("nearest", "mode") else Resampling.average
        predictor = "FLOATING_POINT" if store.dtype == "float32" else "STANDARD"
        write_cloud_optimized(plain, target, predictor=predictor, resampling=resampling)
    except RasterioError as error:
        raise StorageError(f"cannot write {target}: {error}. Free space or choose another folder.") from error
    finally:
        plain.unlink(missing_ok=True)
    verify_raster(target)
    return seen


def stored(values: Image, store: Storage) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values as numbers of the stack, and where there are any; those that its type cannot hold are missing."""
    if store.dtype == "float32":
        numbers = ((values.astype(np.float64) - store.offset) / store.scale).astype(np.float32)
        visible = ~np.isnan(numbers)
        return np.where(visible, numbers, np.float32(np.nan if store.nodata is None else store.nodata)), visible
    limits = np.iinfo(store.dtype)
    exact = np.rint((values.astype(np.float64) - store.offset) / store.scale)
    with np.errstate(invalid="ignore"):
        visible = (exact >= limits.min) & (exact <= limits.max) & (exact != store.nodata)
    return np.where(visible, exact, store.nodata or 0).astype(store.dtype), visible
