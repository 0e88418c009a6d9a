"""Days of a stack as plain numbers on disk, decoded once: what all processes read again and again costs little then."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from miha.files import replacing
from miha.rasters.opened import OpenDays, OpenScene

MOST = 16_000_000_000  # bytes of all days


@dataclass(frozen=True)
class Decoding:
    """A day that is to be decoded, and where to."""

    scene: OpenScene
    target: Path


def is_worthwhile(days: OpenDays, folder: Path) -> bool:
    """True if all days take at most MOST bytes, and half of what is free on the disk of a folder."""
    needed = int(np.prod(days.shape)) * days.dtype.itemsize
    return needed <= min(MOST, shutil.disk_usage(folder).free // 2)


def decodings(days: OpenDays, folder: Path) -> list[Decoding]:
    """What is to be done so that all days lie decoded in a folder."""
    return [Decoding(scene, target) for scene, target in zip(days.scenes, _files(days.scenes, folder), strict=True)]


def decode(one: Decoding) -> None:
    """Write a day as float32, row by row, NaN in the gaps.

    Raises:
        DataError: it cannot be read.
        StorageError: it cannot be written.
    """
    with replacing(one.target) as temporary:
        one.scene.read((slice(None), slice(None)))[0].tofile(temporary)


def use_decoded(days: OpenDays, folder: Path) -> None:
    """From now on read what lies decoded in a folder; if there is none, the rasters themselves."""
    there = folder.is_dir()
    for scene, file in zip(days.scenes, _files(days.scenes, folder), strict=True):
        scene.decoded = file if there else None


def _files(scenes: Sequence[OpenScene], folder: Path) -> list[Path]:
    return [folder / f"{number}.float32" for number in range(len(scenes))]
