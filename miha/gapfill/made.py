"""What becomes of a scene that is filled, window by window."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np

from miha.errors import DataError
from miha.gapfill.guess import Window
from miha.gapfill.intervals import INTERVALS
from miha.gapfill.options import FillOptions
from miha.gapfill.process import Posterior
from miha.rasters.area import box_of, open_area
from miha.rasters.scene import declared_range
from miha.rasters.stack import Image, Mask, ReadOptions, Scene, read_date
from miha.rasters.window import read_grid
from miha.rasters.writing import Part, write_parts
from miha.wording import plural


class TooLittleSeen(DataError):
    """A scene shows too few pixels to be filled from what it shows."""


@dataclass(frozen=True)
class Made:
    """What becomes of a scene, window by window: the scene (NaN in the gaps) and what of it is kept; and the fill."""

    scene: Callable[[Window], tuple[Image, Mask]]
    fill: Callable[[Window], Posterior]
    origin: str = ""  # where the fill comes from, if not from the scene
    sharing: tuple[int, ...] = ()  # other bands that the same mask hides

    @classmethod
    def nothing(cls, fill: Callable[[Window], Posterior], origin: str) -> "Made":
        """Of a day without a scene."""

        def scene(where: Window) -> tuple[Image, Mask]:
            shape = where[0].stop - where[0].start, where[1].stop - where[1].start
            return np.full(shape, np.nan, np.float32), np.zeros(shape, bool)

        return cls(scene, fill, origin)

    @classmethod
    def whole(cls, scene: Scene, filled: Posterior) -> "Made":
        """Of a scene in memory."""
        return cls(
            lambda where: (scene.values[where], scene.kept[where]),
            lambda where: replace(filled, mean=filled.mean[where], std=filled.std[where]),
        )

    def fill_box(self, where: Window, box: Window) -> Posterior:
        """The fill of a window, computed in a box of it alone; NaN elsewhere."""
        if box == where:
            return self.fill(where)
        shape = where[0].stop - where[0].start, where[1].stop - where[1].start
        there = tuple(
            slice(part.start - whole.start, part.stop - whole.start) for part, whole in zip(box, where, strict=True)
        )
        mean, std = np.full((2, *shape), np.nan, np.float32)
        filled = self.fill(box)
        mean[there], std[there] = filled.mean, filled.std
        return replace(filled, mean=mean, std=std)

    def known(self, where: Window, box: Window, never_seen: Mask) -> Image:
        """That fill, NaN in gaps that no day shows."""
        unknown = np.isnan(self.scene(where)[0]) & never_seen
        return np.where(unknown, np.float32(np.nan), self.fill_box(where, box).mean)


NeverSeen = Callable[[Window], Mask]  # where in a window no day shows anything
Sharing = Mapping[int, tuple[Made, NeverSeen]]  # of other bands that the same mask hides


def write_made(
    made: Made,
    source: Path,
    target: Path,
    reading: ReadOptions,
    never_seen: NeverSeen,
    sharing: Sharing,
    options: FillOptions,
    blank: date | None,
) -> str:
    """Write what becomes of a scene, window by window; returns a message about it.

    Args:
        made: what becomes of its band.
        source: what is copied but for the gaps.
        target: where it goes.
        reading: how ``source`` was read; without a valid range, that which ``source`` declares is kept to.
        never_seen: of that band.
        sharing: other bands that the same mask hides: one mask can only show all of them.
        options: which gaps are filled, and what is written beside the scene.
        blank: a day of which there is no scene; then only the place of ``source`` is copied.
    """
    declared = None if reading.valid_range else declared_range(source, reading)
    reading = reading.model_copy(update={"valid_range": reading.valid_range or declared})
    counted = Counter[str]()
    nowhere = np.zeros((1, 1), bool)
    limit = np.inf if options.max_std is None else options.max_std
    area = open_area(options.area, read_grid(source)) if options.area else None

    def part(where: Window) -> Part:
        values, kept = made.scene(where)
        gaps = np.isnan(values)
        inside = area(where) if area else ~nowhere
        outside = gaps & ~kept & ~inside
        wanted = gaps & ~kept & inside
        counted.update(kept=int(kept.sum()), outside=int(outside.sum()))
        if not wanted.any():
            return Part(values, values, gaps, dict.fromkeys(sharing, values))
        box = box_of(where, inside) if area else where
        filled = made.fill_box(where, box)
        unknown = wanted & (nowhere if options.everywhere else never_seen(where))
        unsure = wanted & ~unknown & (filled.std > limit)
        others = {
            band: other.known(where, box, nowhere if options.everywhere else unseen(where))
            for band, (other, unseen) in sharing.items()
        }
        if others:
            unknown |= wanted & np.isnan(list(others.values())).any(axis=0)
        found = np.where(wanted & ~unknown & ~unsure, filled.mean, np.float32(np.nan))
        masks = {"filled": ~np.isnan(found), "unknown": unknown, "unsure": unsure}
        counted.update({name: int(mask.sum()) for name, mask in masks.items()})
        widths = {f"INTERVAL_{share}": f"{filled.intervals[share]:.4g}" for share in INTERVALS}
        return Part(found, filled.std, gaps, others, widths)

    write_parts(source, target, part, reading, blank)
    if options.stac:
        from miha.rasters.stac import write_item  # pystac takes a quarter of a second to import, and is an extra

        write_item(target, blank or read_date(source, reading.date_pattern))
    left = [("unknown", "that no day shows left empty"), ("outside", "outside the area left as they were")]
    left += [("unsure", f"of a standard deviation above {limit:g} left empty"), ("kept", "kept as they were")]
    empty = "".join(f", {counted[name]} {why}" for name, why in left if counted[name])
    empty += f", kept within {declared[0]:g} to {declared[1]:g} as the product says" if declared else ""
    bands = f" in each of {len(sharing) + 1} bands, which share a mask" if sharing else ""
    return f"{target}: {plural(counted['filled'], 'pixel')} filled{bands}{made.origin}{empty}"
