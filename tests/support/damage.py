"""Scenes, and what lies around them, gone wrong in any combination of ways, drawn by Hypothesis."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from hypothesis import strategies as st
from rasterio.transform import Affine

HALF = "half"  # where a download was cut
CLOUD = {"bits": (0, 1), "values": (0,), "file": "{name}_qc.tif"}  # rule of the quality layer, if there is one
DAYS = ("20210501", "20210502", "20210503", "20210506")


@dataclass(frozen=True)
class Spec:
    """How a raster is written, and what becomes of its bytes."""

    dtype: str = "float32"
    shape: tuple[int, int] = (8, 9)
    bands: int = 1
    crs: str | None = "EPSG:32630"
    rotated: bool = False
    nodata: float | None = float("nan")
    scale: float = 1.0
    offset: float = 0.0
    content: str = "field"
    palette: bool = False
    cut: int | str | None = None
    flipped: int | None = None
    name: str = "20210504.tif"
    in_history: bool = False
    gap: bool = True  # in the corner
    folder: str = "data"
    quality: str | None = None  # "whole", or what is wrong with it
    loop: str | None = None  # symlink to itself: a day of the history, a static layer, the scene, or the output
    out: str | None = None  # what stands in its way
    room: int | None = None  # bytes that a file may have, as on a full disk


WRONG: dict[str, st.SearchStrategy[Any]] = {
    "dtype": st.sampled_from(["int16", "uint16", "uint8", "int8", "int32", "float32", "float64", "complex64"]),
    "shape": st.sampled_from([(8, 9), (1, 1), (1, 9), (9, 8)]),
    "bands": st.sampled_from([2, 13]),
    "crs": st.sampled_from(["EPSG:4326", None]),
    "rotated": st.sampled_from([True]),
    "nodata": st.sampled_from([None, 0.0, 255.0, -9999.0, float("nan"), -3.4e38]),
    "scale": st.sampled_from([0.02, 0.0, 1e30, -1.0, float("nan")]),
    "offset": st.sampled_from([-273.15]),
    "content": st.sampled_from(["nodata", "inf", "nan", "constant", "huge"]),
    "palette": st.just(True),
    "cut": st.sampled_from([0, 10, 150, -40, HALF]),
    "flipped": st.integers(0, 400),
    "name": st.sampled_from(
        [
            "20210504.tif",
            "2021-05-04.tif",
            "scène du 2021-05-04.tif",
            "A2021124 x.tif",
            "2099-01-01.tif",
            "scene of 29991231.tif",
            "20210501.tif",
        ]
    ),
    "in_history": st.just(True),
    "folder": st.sampled_from(["Données d'été 2021", "日本 [1]", "a{b}*"]),
    "quality": st.sampled_from(["whole", "other bits", "not of a day", "not of the scene", "of another grid", "cut"]),
    "loop": st.sampled_from(["history/20210505.tif", "history/20210503.tif", "static/terrain.tif", "scene", "out"]),
    "out": st.sampled_from(["a file", "below a file"]),
    "room": st.sampled_from([0, 10, 200, 600, 1000]),
}
# One to three things at a time: of more, one is refused before the others matter. Sorted, since Hypothesis keeps one
# strategy for each set of keys, whatever their order.
specs = st.lists(st.sampled_from(sorted(WRONG)), min_size=1, max_size=3, unique=True).flatmap(
    lambda names: st.builds(Spec, **{name: WRONG[name] for name in sorted(names)})
)


def build(folder: Path, spec: Spec) -> tuple[Path, Path, Path]:
    """A data set, a scene to fill and where to; returns the three."""
    data, scene, out = folder / spec.folder, folder / spec.name, folder / "out"
    (data / "history").mkdir(parents=True)
    (data / "static").mkdir()
    for day in DAYS:
        write(data / "history" / f"{day}.tif", Spec(gap=False))
    write(scene, spec)
    if spec.in_history:
        write(data / "history" / spec.name, spec)
    if spec.quality:
        for path in [*(data / "history").iterdir(), scene]:
            write_quality(path, spec, path == scene)
    if spec.out and spec.loop != "out":
        (folder / "file").write_text("mine")
        out = folder / "file" / ("out" if spec.out == "below a file" else "")
    if spec.loop:
        loop = {"scene": scene, "out": out}.get(spec.loop, data / spec.loop)
        loop.unlink(missing_ok=True)
        loop.symlink_to(loop.name)
    return data, scene, out


def write_quality(path: Path, spec: Spec, is_scene: bool) -> None:
    """The quality layer of a scene: cloud in a corner; and whatever is wrong with it."""
    if (spec.quality == "not of the scene" and is_scene) or (spec.quality == "not of a day" and path.stem == DAYS[1]):
        return
    shape = (7, 7) if spec.quality == "of another grid" and path.stem == DAYS[1] else spec.shape if is_scene else (8, 9)
    try:
        with rasterio.open(path) as raster:
            place = {"crs": raster.crs, "transform": raster.transform}
    except rasterio.errors.RasterioError:
        place = {}
    levels = np.zeros(shape, np.uint8)
    levels[-2:, -2:] = 2
    if spec.quality == "other bits":
        levels |= np.uint8(0b10110100)
    profile = {"driver": "GTiff", "height": shape[0], "width": shape[1], "count": 1, "dtype": "uint8", **place}
    target = path.with_name(f"{path.stem}_qc.tif")
    with rasterio.open(target, "w", **profile) as raster:
        raster.write(levels, 1)
    if spec.quality == "cut" and (is_scene or path.stem == DAYS[1]):
        target.write_bytes(target.read_bytes()[:150])


def write(path: Path, spec: Spec) -> None:
    """Write a raster, and damage it."""
    rng, (height, width) = np.random.default_rng(0), spec.shape
    nodata = spec.nodata if spec.nodata is not None and fits(spec.nodata, spec.dtype) else None
    rows, columns = np.indices(spec.shape)
    values = 290 + 0.5 * rows + 0.3 * columns + rng.normal(0, 0.3, (spec.bands, height, width))
    if spec.dtype in ("uint8", "int8"):
        values -= 250
    floating = spec.dtype.startswith("float")
    hidden: Any = nodata if nodata is not None else np.nan if floating else 0
    if spec.gap:
        values[:, : height // 2, : width // 2] = hidden
    if spec.content == "nodata":
        values[:] = hidden
    elif spec.content == "constant":
        values[:] = 7
    elif floating and spec.content in ("inf", "nan", "huge"):
        values[:, -1] = 1e38 if spec.content == "huge" else float(spec.content)
    turned = Affine.rotation(20) if spec.rotated else Affine.identity()
    transform = Affine.translation(500_000, 4_400_000) * turned * Affine.scale(1000, -1000)
    profile = {"driver": "GTiff", "height": height, "width": width, "count": spec.bands, "dtype": spec.dtype}
    with rasterio.open(path, "w", **profile, nodata=nodata, crs=spec.crs, transform=transform) as raster:
        raster.write(np.nan_to_num(values) if spec.dtype == "complex64" else values.astype(spec.dtype))
        raster.scales, raster.offsets = [spec.scale] * spec.bands, [spec.offset] * spec.bands
        if spec.palette and spec.dtype == "uint8":
            raster.write_colormap(1, {code: (code, code, code, 255) for code in range(256)})
    content = bytearray(path.read_bytes())
    if spec.flipped is not None and spec.flipped < len(content):
        content[spec.flipped] ^= 0x55
    path.write_bytes(content[: len(content) // 2 if spec.cut == HALF else spec.cut])


def fits(nodata: float, dtype: str) -> bool:
    """Whether a data type holds the number."""
    if not np.issubdtype(dtype, np.integer):
        return True
    return bool(np.isfinite(nodata) and np.iinfo(dtype).min <= nodata <= np.iinfo(dtype).max)
