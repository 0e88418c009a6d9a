"""Fitting a stack: factors to a sample of its pixels, then all pixels window by window, spread over processes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from miha.documents import read_document
from miha.errors import ConfigError, DataError
from miha.events import Working, publish
from miha.evolution.seeds import stream
from miha.files import digest_json, replacing_folder, stamp_files, write_json
from miha.gapfill.eof.factors import Factors, fit_factors
from miha.gapfill.eof.leftover import learn_leftover
from miha.gapfill.eof.model import LOADINGS, NOISE, Model, make_map, put
from miha.gapfill.eof.practice import fit_pixels, practise
from miha.gapfill.guess import Window
from miha.rasters.opened import OpenDays, OpenScene, sample_of
from miha.rasters.scene import sample_scene
from miha.rasters.stack import ReadOptions, Stack, misfit, read_stack
from miha.rasters.window import opened
from miha.threads import fixed_threads
from miha.training.workers import compute_all

FITTED = 8000  # pixels of the sample that factors are fitted to; scores come of all of it
VALUES = 64_000_000  # of all days in a window at most, 256 MB
RETRIES = 2  # of a window whose process died
GROWTH = 2.0  # days known to one fit and the next, where days after a day are not to be known,
LONGEST = 90  # and how many more at most
FIRST, FITTED_STACK = "first.npy", "stack.json"
NEVER = np.iinfo(np.int32).max


class FittedStack(BaseModel):
    """What ``stack.json`` says of a stack that was fitted.

    Attributes:
        key: of all that it came from.
        height: of the scenes.
        width: of the scenes.
        scenes: number of the day → file, of the days that were used.
        left_out: number of the day → why it was not used.
        known: number of the day from which on a model fills, for each model, sorted.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    height: int
    width: int
    scenes: dict[int, Path]
    left_out: dict[int, str]
    known: tuple[int, ...]

    @classmethod
    def read(cls, folder: Path) -> "FittedStack":
        """That of a folder."""
        return read_document(folder / FITTED_STACK, cls, ConfigError, f"Remove {folder}.")


@dataclass(frozen=True)
class Part:
    """One window of a stack that is to be fitted: by each of the factors, to the days that they know."""

    folder: Path
    days: OpenDays
    numbers: NDArray[np.int64]
    factors: Sequence[Factors]
    where: Window


def model_folder(folder: Path, number: int) -> Path:
    """Where in the folder of a stack one of its models lies."""
    return folder / f"model{number}"


@fixed_threads(1)
def fit_stack(
    data: Path, folder: Path, reading: ReadOptions, scenes: Mapping[date, Path], wanted: Sequence[date], causal: bool
) -> None:
    """Fit the history of a data set, unless ``folder`` holds that very fit.

    Args:
        data: the data set.
        folder: for what is fitted.
        reading: how pixels become values.
        scenes: all of the history.
        wanted: days that will be filled.
        causal: whether only days before a day, and itself, may tell of it.

    Raises:
        DataError: the history cannot be used.
    """
    key = digest_json(
        [stamp_files(scenes.values()), reading.model_dump(mode="json"), [f"{day}" for day in sorted(wanted)], causal]
    )
    if (folder / FITTED_STACK).exists() and FittedStack.read(folder).key == key:
        return
    publish(Working("the history is read"))
    stack = read_stack(data / "history", reading)
    shape = stack.grid.height, stack.grid.width
    numbers = np.array([day.toordinal() for day in stack.dates])
    pixels, sample = _sample(stack)
    days = OpenDays([OpenScene(scenes[day], reading, shape) for day in stack.dates], pixels[:0], sample[:, :0])
    known = _known(len(days)) if causal else [len(days)]
    with replacing_folder(folder) as made:
        publish(Working("patterns are fitted"))
        factors = []
        for number, (count, until) in enumerate(zip(known, [*known[1:], len(days) + 1], strict=True)):
            place = model_folder(made, number)
            place.mkdir()
            fitted = fit_factors(sample[:count, _some(pixels)], numbers[:count])
            practice = practise(fitted, sample[:count], pixels, shape, days[:count], not causal)
            leftover = learn_leftover(practice, float(np.median(np.diff(numbers[:count]))) if count > 1 else 1.0)
            rows = slice(0, until - 1)
            design = _design(fitted, sample[rows], numbers[rows], _wanted(wanted, numbers, until, causal), causal)
            Model(place, np.float32(fitted.centre), *design, leftover).save(shape)
            factors.append(fitted)
        make_map(made / FIRST, shape, np.int32)
        block = _block(scenes[stack.dates[0]], reading)
        parts = [Part(made, days, numbers, factors, where) for where in fit_windows(shape, block, len(days))]
        compute_all(fit_part, parts, RETRIES, "windows")
        first_days = [int(numbers[count - 1]) for count in known] if causal else [0]
        document = FittedStack(
            key=key,
            height=shape[0],
            width=shape[1],
            scenes={day.toordinal(): scenes[day] for day in stack.dates},
            left_out=_left_out(stack, scenes, reading),
            known=tuple(first_days),
        )
        write_json(made / FITTED_STACK, document.model_dump(mode="json"))


@fixed_threads(1)
def fit_part(part: Part) -> None:
    """Fit the pixels of a window, and write what was found."""
    values = cast("NDArray[np.float32]", part.days[:, *part.where])
    shape = values.shape[1:]
    seen = ~np.isnan(values)
    first = np.where(seen.any(axis=0), part.numbers[seen.argmax(axis=0)], NEVER)
    put(part.folder / FIRST, part.where, first)
    pixels = values.reshape(len(values), -1)
    for number, factors in enumerate(part.factors):
        place, known = model_folder(part.folder, number), pixels[: len(factors.days)]
        loadings, noise = fit_pixels(factors, known, factors.design)
        put(place / LOADINGS, (slice(None), *part.where), loadings.reshape(-1, *shape))
        put(place / NOISE, part.where, noise.reshape(shape))


def fit_windows(shape: tuple[int, int], block: tuple[int, int], days: int) -> Iterator[Window]:
    """Windows that cover scenes, inside blocks of the files or made of whole ones, so that each is decoded once."""
    width = min(block[1], shape[1])
    rows = max(1, VALUES // (days * width))
    height = rows if rows < block[0] else rows // block[0] * block[0] if width == shape[1] else block[0]
    for top in range(0, shape[0], block[0] if height < block[0] else height):
        bottom = min(top + max(block[0], height), shape[0])
        for left in range(0, shape[1], width):
            for start in range(top, bottom, height):
                yield slice(start, min(start + height, bottom)), slice(left, min(left + width, shape[1]))


def _block(path: Path, reading: ReadOptions) -> tuple[int, int]:
    with opened(path, reading) as raster:
        height, width = raster.block_shapes[reading.band - 1]
        return int(height), int(width)


def _known(days: int) -> list[int]:
    """How many days each of the models of a causal fit knows."""
    known = [1]
    while (following := min(int(known[-1] * GROWTH), known[-1] + LONGEST)) <= days:
        known.append(following)
    return known


def _sample(stack: Stack) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Flat indices of pixels that stand for all, and their values (days, pixels)."""
    values: Any = stack.values
    if isinstance(values, OpenDays):
        return values.pixels, values.sampled
    pixels = sample_of((stack.grid.height, stack.grid.width), len(stack))
    return pixels, values.reshape(len(stack), -1)[:, pixels]


def _some(pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of FITTED of the pixels of a sample."""
    if len(pixels) <= FITTED:
        return np.arange(len(pixels))
    return np.sort(stream(0, "samples", 5).choice(len(pixels), FITTED, replace=False, shuffle=False))


def _wanted(wanted: Sequence[date], numbers: NDArray[np.int64], until: int, causal: bool) -> NDArray[np.int64]:
    """Days that a model fills, without those that the next one does."""
    days = np.array(sorted(day.toordinal() for day in wanted), np.int64)
    return days[days < numbers[until - 1]] if causal and until <= len(numbers) else days


def _design(
    factors: Factors,
    sample: NDArray[np.float32],
    numbers: NDArray[np.int64],
    wanted: NDArray[np.int64],
    causal: bool,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Days and their design, of days with a scene and of those that are wanted without one."""
    days = np.union1d(numbers, wanted)
    shown = np.full((len(days), sample.shape[1]), np.nan, np.float32)
    shown[np.searchsorted(days, numbers)] = sample
    return days, factors.scores(shown, days, not causal).astype(np.float32)


def _left_out(stack: Stack, scenes: Mapping[date, Path], reading: ReadOptions) -> dict[int, str]:
    """Days whose values lie far from those of others, and how."""
    found = {}
    for day in sorted(set(scenes) - set(stack.dates)):
        try:
            shape = stack.grid.height, stack.grid.width
            reason = misfit(sample_scene(scenes[day], reading, sample_of(shape, len(scenes))), stack.level, reading)
        except DataError:
            continue  # which filling it will tell of
        if reason:
            found[day.toordinal()] = reason
    return found
