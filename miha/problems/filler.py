"""Using a trained archive: filling the gaps of one scene from history, static layers and that scene alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from miha.errors import ArchiveError, DataError
from miha.evolution.seeds import stream
from miha.problems import archived_problem
from miha.problems.base import load_weights, set_activations
from miha.problems.encoding import Normalisation
from miha.problems.gapfill import MIN_VISIBLE, GapFill, Split
from miha.progress import publish
from miha.rasters.fill import plan_fills, write_filled
from miha.rasters.predictors import Background, Layer, read_static
from miha.rasters.stack import Image, Scene, read_date, read_scene
from miha.records.archive import Manifest, read_archive
from miha.threads import fixed_threads

MIRRORINGS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-1, -2))  # axes to flip, in one opinion each


def can_fill(manifest: Manifest) -> bool:
    """True if an archive is of gap filling, or of a subclass of it."""
    return isinstance(archived_problem(manifest.problem), GapFill)


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
        manifest, weights, _ = read_archive(archive)
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
        self.sources = self.problem.sources()
        self._check_inputs(archive)
        self.static = read_static(data / "static", self.sources.history.grid, self.layers)
        self.network = self.problem.build_network()
        set_activations(self.network, manifest.record.hyperparameters.activations)
        load_weights(self.network, weights)
        self.network.eval()

    def _check_inputs(self, archive: Path) -> None:
        said = [(layer.name, layer.codes is None) for layer in self.layers]
        here = [(layer.name, layer.codes is None) for layer in self.sources.static.layers]
        for what, trained, found in (("static layers", said, here), ("unit", self.unit, self.sources.history.unit)):
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
        if difference := self.sources.history.grid.difference(scene.grid):
            raise DataError(
                f"{path} does not fit {self.problem.data / 'history'}: {difference}. Bring it to that grid (gdalwarp)."
            )
        if (~scene.gaps).sum() < MIN_VISIBLE:
            raise DataError(
                f"{path} has {(~scene.gaps).sum()} valid pixels; at least {MIN_VISIBLE} are needed to fill it."
            )
        return scene

    def background(self, path: Path) -> Background:
        """The history without the scene's own day."""
        when = read_date(path, self.problem.date_pattern)
        others = self.sources.history.without(when)
        if len(others) < 2:
            raise DataError(
                f"{self.problem.data / 'history'} has {len(others)} days beside {when}; at least 2 are needed."
            )
        return Background.of(others.values)

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

        Raises:
            DataError: a scene that cannot be used, or files that would overwrite each other.
        """
        for source in sources:
            self.read(source)
            self.background(source)
        return plan_fills(sources, out)

    def fill(self, source: Path, target: Path) -> Path:
        """Fill one raster; returns the file written.

        Raises:
            DataError: the scene cannot be used.
            StorageError: it cannot be written.
        """
        scene = self.read(source)
        values = self.predict(scene.values, self.background(source))
        write_filled(source, target, values, scene.gaps, self.problem.reading)
        publish("filled", file=str(target), pixels=int(scene.gaps.sum()))
        return target

    def fill_all(self, sources: Sequence[Path], out: Path) -> list[Path]:
        """Fill several rasters into a folder, each by itself and under its own name, after checking all of them."""
        return [self.fill(source, target) for source, target in self.plan(sources, out).items()]
