"""Reading an observation window by window: values with gaps where nothing was seen, or where it is not clear."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import MaskFlags, Resampling
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from miha.errors import DataError
from miha.products.downloads import Observation
from miha.products.layers import fall_together, open_layer
from miha.products.product import QualityRule, Recipe
from miha.rasters.masks import grown
from miha.rasters.window import Image, Mask, grown_window, unit_of

LONGITUDE_LATITUDE = CRS.from_epsg(4326)


@dataclass(frozen=True)
class Quality:
    """A quality layer on the grid of its scene, and the rule that reads it."""

    raster: DatasetReader
    band: int
    rule: QualityRule


@dataclass(frozen=True)
class OpenScene:
    """An observation whose files are open."""

    observation: Observation
    raster: DatasetReader
    band: int
    qualities: tuple[Quality, ...]

    @property
    def recipe(self) -> Recipe:
        """How it is read."""
        return self.observation.recipe

    @property
    def unit(self) -> str:
        """Of the values."""
        return self.recipe.unit or unit_of(self.raster, self.band)

    @property
    def valid_range(self) -> tuple[float, float] | None:
        """Least and greatest value that the product allows, in the unit; None: it says nothing."""
        if self.recipe.valid_range is None:
            return None
        scale, offset = self._scaling
        low, high = sorted(round(stored * scale + offset, 9) for stored in self.recipe.valid_range)
        return low, high

    @property
    def _scaling(self) -> tuple[float, float]:
        """Scale and offset of stored numbers."""
        recipe, place = self.recipe, self.band - 1
        scale = self.raster.scales[place] if recipe.scale is None else recipe.scale
        return scale, self.raster.offsets[place] if recipe.offset is None else recipe.offset

    def read(self, window: Window) -> Image:
        """Values with gaps, where pixels are missing or not clear, and by as many around as the recipe says."""
        if not self.recipe.grow:
            return self._visible(window)
        outer, inner = grown_window(window.toslices(), self.recipe.grow, self.raster.shape)
        values = self._visible(Window.from_slices(*outer))
        values[grown(np.isnan(values), self.recipe.grow)] = np.nan
        return values[inner]

    def _visible(self, window: Window) -> Image:
        values = self.values(window)
        values[~self.clear(window)] = np.nan
        return values

    def values(self, window: Window, shape: tuple[int, int] | None = None) -> Image:
        """Values of a window, or of ``shape`` pixels spread over it; NaN for missing ones, whatever their quality."""
        raw = self.raster.read(self.band, window=window, out_shape=shape)
        recipe, place = self.recipe, self.band - 1
        missing = ~np.isfinite(raw) if np.issubdtype(raw.dtype, np.floating) else np.zeros(raw.shape, bool)
        for code in (self.raster.nodatavals[place], *recipe.nodata):
            if code is not None:
                missing |= raw == code
        if recipe.valid_range:
            missing |= (raw < recipe.valid_range[0]) | (raw > recipe.valid_range[1])
        if {MaskFlags.per_dataset, MaskFlags.alpha} & set(self.raster.mask_flag_enums[place]):
            missing |= self.raster.read_masks(self.band, window=window, out_shape=shape) == 0
        scale, offset = self._scaling
        return np.where(missing, np.nan, raw.astype(np.float64) * scale + offset).astype(np.float32)

    def clear(self, window: Window, shape: tuple[int, int] | None = None) -> Mask:
        """Where all rules say that a pixel is clear; ``shape`` as for :meth:`values`."""
        clear = np.ones(shape or (window.height, window.width), bool)
        for quality in self.qualities:
            clear &= quality.rule.clear(quality.raster.read(quality.band, window=window, out_shape=shape))
        return clear


@contextmanager
def open_scene(observation: Observation) -> Iterator[OpenScene]:
    """Open the files of an observation.

    Raises:
        DataError: a quality layer is missing, or lies elsewhere; no such band or subdataset.
        RasterioError: GDAL cannot open one.
    """
    recipe, own = observation.recipe, observation.band
    with ExitStack() as stack:
        raster, band = stack.enter_context(open_layer(observation.path, recipe.subdataset, own or recipe.band))
        qualities = []
        for rule, path in zip(recipe.clear, observation.quality, strict=True):
            if path is None:
                raise DataError(
                    f"{observation.path} has no quality layer {rule.file}. Download it, or leave out clear."
                )
            layer, number = stack.enter_context(open_layer(path, rule.subdataset, own or rule.band))
            if not fall_together(raster, layer):
                layer = stack.enter_context(_warped(layer, raster, path, observation.path))
            qualities.append(Quality(layer, number, rule))
        yield OpenScene(observation, raster, band, tuple(qualities))


def _warped(layer: DatasetReader, raster: DatasetReader, path: str, scene: str) -> WarpedVRT:
    """A quality layer on the grid of its scene."""
    if not (layer.crs and raster.crs):
        raise DataError(f"{path} does not fit {scene}, and one of them does not say where it lies. Repair their CRS.")
    return WarpedVRT(
        layer,
        crs=raster.crs,
        transform=raster.transform,
        width=raster.width,
        height=raster.height,
        resampling=Resampling.nearest,
    )


def read_geolocation(observation: Observation, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Longitudes and latitudes of a swath's pixels, (2, height, width), degrees.

    Raises:
        DataError: there are none, or they do not fit.
        RasterioError: GDAL cannot read them.
    """
    wanted, path = observation.recipe.geolocation, observation.geolocation
    if wanted is None or path is None:
        raise DataError(f"{observation.path} has no file {wanted and wanted.file} that says where it lies.")
    layers = []
    for name in (wanted.longitude, wanted.latitude):
        with open_layer(path, name, 1) as (raster, band):
            if raster.shape != shape:
                raise DataError(f"{name} in {path} has {raster.shape} pixels, but {observation.path} has {shape}.")
            scale, offset = raster.scales[band - 1], raster.offsets[band - 1]
            layers.append(raster.read(band).astype(np.float64) * scale + offset)
    return np.stack(layers)
