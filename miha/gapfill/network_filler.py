"""Filling the gaps of scenes with a trained network, which refines the base."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError

from miha.errors import ArchiveError, DataError
from miha.evolution.seeds import stream
from miha.gapfill.bagging import mean_correction
from miha.gapfill.base import PROCESS, process_of
from miha.gapfill.days import Split
from miha.gapfill.encoding import Normalisation
from miha.gapfill.filler import BaseFiller, Filler
from miha.gapfill.guess import Window
from miha.gapfill.predictors import Background, Static
from miha.gapfill.problem import GapFill
from miha.gapfill.process import Posterior
from miha.gapfill.tiled_network import NetworkOverBase, reach_of
from miha.gapfill.unet import UNet
from miha.gapfill.view import View
from miha.problems.evaluation import trained_network
from miha.problems.registry import archived_problem
from miha.rasters.stack import Image, ReadOptions, Stack
from miha.records.archive import read_archive
from miha.threads import fixed_threads

MIRRORINGS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-1, -2))  # axes to flip, in one opinion each


class NetworkFiller(Filler):
    """Fills with a trained network, which refines the base.

    Args:
        archive: a model archive of problem ``gapfill``, or of a subclass of it, whose module is then imported.
        data: the data set: ``history/`` and ``static/`` are read.

    Raises:
        ArchiveError: the archive is damaged or of another problem.
        DataError: the data set cannot be used.
    """

    least_days = 2

    def __init__(self, archive: Path, data: Path, causal: bool = False) -> None:
        opened = read_archive(archive)
        manifest = opened.manifest
        problem = archived_problem(manifest.problem, data)
        if not isinstance(problem, GapFill):
            raise ArchiveError(f"{archive} is of problem {problem.name!r}; only gapfill archives fill scenes.")
        self.problem, self.manifest = problem, manifest
        try:
            self.split = Split.model_validate(manifest.extras["split"])
            seed = int(manifest.extras["seed"])
        except (ValidationError, KeyError, TypeError, ValueError) as error:
            raise ArchiveError(f"{archive} lacks settings that filling needs: {error}.") from error
        self.history: Stack
        history = problem.history()
        super().__init__(data, problem.reading, history, history.unit, seed, causal)
        self.max_std = problem.max_std
        self.network = trained_network(self.problem, opened)
        if not self.opened:
            problem.static()  # is kept, and what is wrong with it is said now
        elif self.reach is None:
            raise ArchiveError(
                f"{archive} fills only stacks that fit into memory: its network must see whole scenes. Train one of "
                "problem.network unet, or fill without a model."
            )

    @cached_property
    def static(self) -> Static:
        return self.problem.static()

    @cached_property
    def reach(self) -> int | None:
        """How far the network looks, pixels; None if it must see a scene as a whole."""
        refines = self.problem.network == "unet" and type(self.problem).encode is GapFill.encode
        return reach_of(self.network, self.problem.channels) if refines else None

    @property
    def learned(self) -> set[str]:
        """Days (ISO dates) that training or validation saw."""
        return {*self.split.train, *self.split.validating}

    @property
    def corrects(self) -> bool:
        """False where the network is the zero map, as it is before training."""
        network = self.network
        if not isinstance(network, UNet):
            return True
        last = (*network.head.parameters(), *network.linear.parameters())
        return bool(network.share) and any(bool(one.any()) for one in last)

    def _fill(self, view: View) -> Callable[[Window], Posterior]:
        assert self.reach is not None, "others are refused"
        reach, mirrorings = self.reach, [self._axes(mirroring) for mirroring in MIRRORINGS]
        over = cache(lambda: NetworkOverBase(view, self.problem, self.network, reach, mirrorings, self.seed))
        return lambda where: over().fill(where)

    def _axes(self, mirroring: tuple[int, ...]) -> tuple[int, ...]:
        """The axes to flip of a network, if it learned from mirrored scenes."""
        return mirroring if self.problem.flips else ()

    def predict(self, scene: Image, background: Background) -> Posterior:
        """The mean of several opinions of the network; the deviation is that of the Gaussian process.

        The network is asked about a base with other trees each time, and about another mirroring of it if it learned
        from mirrored scenes. More trees in one guess would be a guess of another kind than it learned from.
        """
        return self.predict_beside_base(scene, background)[0]

    @fixed_threads(1)
    def predict_beside_base(
        self,
        scene: Image,
        background: Background,
        static: Static | None = None,
        normalisation: Normalisation | None = None,
    ) -> tuple[Posterior, Image]:
        """The same, and what the network started from: the base of the first opinion (right in the gaps).

        Args:
            scene: (height, width), NaN in the gaps.
            background: the other days.
            static: layers, if they are not those of the data set, since the scene is a window.
            normalisation: the same, if it is not that of the background.
        """
        static = static or self.static
        process = process_of(scene, background, static, stream(self.seed, "fill", PROCESS))
        bases, opinions = [], []
        with torch.inference_mode():
            for number, mirroring in enumerate(MIRRORINGS):
                axes, rng = self._axes(mirroring), stream(self.seed, "fill", number)
                encoded = self.problem.encode(
                    scene, background, static, rng, process=process, normalisation=normalisation
                )
                inputs = torch.from_numpy(encoded.channels)[None]
                output = mean_correction(self.network, inputs.flip(axes)).flip(axes)[0].numpy()
                bases.append(encoded.base)
                opinions.append(encoded.base + encoded.scale * output)
        return replace(process, mean=np.asarray(np.mean(opinions, axis=0), np.float32)), bases[0]


def open_filler(
    model: Path | None, data: Path | None, reading: ReadOptions = ReadOptions(), causal: bool = False
) -> Filler:
    """What fills: a trained model, which needs ``data``; or without one the base, reading rasters as ``reading`` says.

    With ``causal`` only days before a scene's own fill it.

    Raises:
        ArchiveError: the model cannot be used with ``data``.
        DataError: the data set cannot be used, or there is none for a model.
    """
    if model is None:
        return BaseFiller(data, reading, causal)
    if data is None:
        raise DataError(f"{model} fills from the days of a data set. Give --data.")
    return NetworkFiller(model, data, causal)
