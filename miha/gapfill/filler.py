"""Using a trained archive: filling the gaps of one scene from history, static layers and that scene alone."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from miha.errors import ArchiveError, DataError
from miha.events import Told, publish
from miha.evolution.seeds import stream
from miha.gapfill.days import MIN_VISIBLE, Split
from miha.gapfill.encoding import Normalisation
from miha.gapfill.predictors import Background, Layer, read_static
from miha.gapfill.problem import GapFill
from miha.problems.evaluation import trained_network
from miha.problems.registry import archived_problem
from miha.rasters.stack import Image, Scene, read_date, read_scene
from miha.rasters.writing import plan_fills, write_filled
from miha.records.archive import read_archive
from miha.threads import fixed_threads

MIRRORINGS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-1, -2))  # axes to flip, in one opinion each


class Filler:
    """A trained network, ready to fill scenes of one data set. Filling is in float32 and on one thread.

    Args:
        archive: a model archive of problem ``gapfill``, or of a subclass of it, whose module is then imported.
        data: the data set: ``history/`` and ``static/`` are read.

    Raises:
        ArchiveError: the archive is damaged, of another problem, or made for other inputs than ``data`` offers.
        DataError: the data set cannot be used.
    """

    def __init__(self, archive: Path, data: Path) -> None:
        opened = read_archive(archive)
        manifest = opened.manifest
        problem = archived_problem(manifest.problem, data)
        if not isinstance(problem, GapFill):
            raise ArchiveError(f"{archive} is of problem {problem.name!r}; only gapfill archives fill scenes.")
        self.problem = problem
        try:
            self.normalisation = Normalisation.model_validate(manifest.extras["normalisation"])
            self.layers = [Layer.model_validate(layer) for layer in manifest.extras["static"]]
            self.split = Split.model_validate(manifest.extras["split"])
            self.unit, self.seed = str(manifest.extras["unit"]), int(manifest.extras["seed"])
        except (ValidationError, KeyError, TypeError, ValueError) as error:
            raise ArchiveError(f"{archive} lacks settings that filling needs: {error}.") from error
        self.manifest = manifest
        self.history = self.problem.history()
        self._check_inputs(archive)
        self.static = read_static(data / "static", self.history.grid, self.layers)
        self.network = trained_network(self.problem, opened)
        self._scenes: dict[Path, Scene] = {}  # read by plan, not filled yet
        self._backgrounds: dict[date, Background] = {}  # of the latest day: scenes of one day share it

    @property
    def learned(self) -> set[str]:
        """Days (ISO dates) that training or validation saw."""
        return {*self.split.train, *self.split.valid}

    def _check_inputs(self, archive: Path) -> None:
        listed, present = (
            [(layer.name, layer.codes is None) for layer in layers]
            for layers in (self.layers, self.problem.static().layers)
        )
        for what, trained, found in (("static layers", listed, present), ("unit", self.unit, self.history.unit)):
            if trained != found:
                raise ArchiveError(
                    f"{archive} was made for other inputs: {what} were {trained}, {self.problem.data} has {found}. "
                    "Train a model on this data set."
                )

    def read(self, path: Path) -> Scene:
        """Read a scene to fill, the way the model's training read its history.

        Raises:
            DataError: unreadable, on another grid than the history, or without enough valid pixels.
        """
        scene = read_scene(path, self.problem.reading)
        if difference := self.history.grid.difference(scene.grid):
            raise DataError(
                f"{path} does not fit {self.problem.data / 'history'}: {difference}. Bring it to that grid (gdalwarp)."
            )
        if (~scene.gaps).sum() < MIN_VISIBLE:
            raise DataError(
                f"{path} has {(~scene.gaps).sum()} valid pixels; at least {MIN_VISIBLE} are needed to fill it."
            )
        return scene

    def background(self, path: Path) -> Background:
        """The history without the scene's own day.

        Raises:
            DataError: no date, or too few other days.
        """
        when = self._date(path)
        if when not in self._backgrounds:
            self._backgrounds = {when: Background.of(self.history.without(when).values)}
        return self._backgrounds[when]

    def _date(self, path: Path) -> date:
        """The day of a scene, once there are enough others."""
        when = read_date(path, self.problem.date_pattern)
        others = len(self.history) - (when in self.history.dates)
        if others < 2:
            raise DataError(f"{self.problem.data / 'history'} has {others} days beside {when}; at least 2 are needed.")
        return when

    def predict(self, scene: Image, background: Background) -> Image:
        """The scene at every pixel (height, width; NaN in the gaps), in the data's unit: the mean of several opinions.

        The network is asked about a first guess with other trees each time, and about another mirroring of it if it
        learned from mirrored scenes. More trees in one guess would be a guess of another kind than it learned from.
        """
        opinions = []
        with torch.inference_mode(), fixed_threads(1):
            for number, mirroring in enumerate(MIRRORINGS):
                axes = mirroring if self.problem.flips else ()
                rng = stream(self.seed, "fill", number)
                encoded = self.problem.encode(scene, background, self.static, self.normalisation, rng)
                inputs = torch.from_numpy(encoded.channels)[None]
                output = self.network(inputs.flip(axes)).flip(axes)[0].numpy()
                opinions.append(encoded.base + encoded.scale * output)
        return np.asarray(np.mean(opinions, axis=0), np.float32)

    def plan(self, sources: Sequence[Path], out: Path) -> dict[Path, Path]:
        """Input → output of several fills; everything that can be told before the first is filled.

        The scenes that were read for it are kept until they are filled.

        Raises:
            DataError: a scene that cannot be used, or files that would overwrite each other.
        """
        for source in sources:
            self._scenes[source] = self.read(source)
            self._date(source)
        return plan_fills(sources, out)

    def fill(self, source: Path, target: Path) -> Path:
        """Fill one raster; returns the file written.

        Raises:
            DataError: the scene cannot be used.
            StorageError: it cannot be written.
        """
        scene = self._scenes.pop(source, None) or self.read(source)
        values = self.predict(scene.values, self.background(source))
        write_filled(source, target, values, scene.gaps, self.problem.reading)
        publish(Told(f"{target}: {scene.gaps.sum()} pixels filled"))
        return target

    def fill_all(self, sources: Sequence[Path], out: Path) -> list[Path]:
        """Fill several rasters into a folder, each by itself and under its own name, after checking all of them."""
        return [self.fill(source, target) for source, target in self.plan(sources, out).items()]
