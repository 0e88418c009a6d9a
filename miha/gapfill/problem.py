"""Gap filling: learn to restore pixels under clouds that were pasted on clear days.

A data set is a folder of GeoTIFFs: ``history/`` (the days to learn from), ``static/`` (terrain, land cover; optional).
Nothing else is read in training. A sample is a day with a gap pasted on it; loss and fitness are taken on the pixels
inside the gap whose truth is known. Several U-Nets learn side by side, each from half of the days, and are validated
together on the other half: every clear day both teaches and validates.
"""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field
from torch import Tensor, nn

from miha.errors import DataError
from miha.evolution.hyperparameters.activation import SIGNED_ACTIVATIONS, find_activations
from miha.evolution.losses import REGRESSION_LOSSES
from miha.files import digest_files, digest_json, stamp_files
from miha.gapfill.augmentation import mirrored, noisy, windows_of
from miha.gapfill.autoencoder import Autoencoder
from miha.gapfill.bagging import judged_each, out_of_bag
from miha.gapfill.base import process_of
from miha.gapfill.companions import companion_files, with_companions
from miha.gapfill.days import MIN_CLEAR, MIN_DAYS, Split, clear_days, warn_if_few
from miha.gapfill.encoding import FIXED_CHANNELS, Encoded, Normalisation, encode_base, encode_scene
from miha.gapfill.guess import WHOLE, Window, guess_scene
from miha.gapfill.predictors import Background, Static, StaticFiles, read_static
from miha.gapfill.process import Posterior, Size
from miha.gapfill.regressions import FOLDS, TRENDS, GuessSettings
from miha.gapfill.samples import PARTS, SPLITS, Job, Part, SampleFile, make_sample
from miha.gapfill.shrinkage import trusted_share
from miha.gapfill.unet import UNet
from miha.problems.judgement import Judgement
from miha.problems.presentation import Presentation
from miha.problems.problem import NAMES, ParallelMap, Problem
from miha.problems.samples import Batch, Data, Samples, SampleSource
from miha.rasters.opened import OpenDays
from miha.rasters.stack import Image, ReadOptions, Stack, first_grid, list_rasters, quality_files, read_stack
from miha.records.archive import FORMAT_VERSION

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLE_SIZE = Size(dense=1000, inducing=300)  # of the process, of training samples
NOISE = 0.2  # standard deviations of what is observed, at an augmentation of 1


class GapFill(ReadOptions, Problem):
    """Fill the gaps of raster scenes with a U-Net that refines the base, or with the article's autoencoder."""

    metric: ClassVar[str] = "mae"
    built_in: ClassVar[str] = "gapfill"
    figures_title: ClassVar[str] = "Filled scenes"
    mixed_precision: ClassVar[bool] = True
    channels_last: ClassVar[bool] = True
    draws_per_sample: ClassVar[int] = 2
    draws_per_distortion: ClassVar[int] = 1

    name: str = Field("gapfill", description=NAMES)
    network: Literal["unet", "autoencoder"] = Field(
        "unet", description="unet: refines the base; autoencoder: the article's, sees the scene alone"
    )
    width: int = Field(8, ge=1, le=256, description="channels of the U-Net's first level")
    levels: int = Field(1, ge=1, le=6, description="resolutions of the U-Net; more of them need more days")
    members: int = Field(
        4,
        ge=1,
        le=16,
        description="U-Nets that learn side by side and fill as their mean; each learns from half of the days, the "
        "others validate it; 1: a single one, see valid_fraction",
    )
    loss: Literal["l1", "mse"] = Field(
        "l1", description="l1 or mse, of standardised values; of validation and fitness, and of training at first"
    )
    train_samples: int = Field(320, ge=1, description="days with a pasted gap to train on")
    valid_samples: int = Field(96, ge=1, description="days with a pasted gap to validate on")
    valid_fraction: float = Field(
        0.25, gt=0, lt=1, description="part of the clear days kept to validate a single network"
    )
    test_fraction: float = Field(0.15, ge=0, lt=1, description="part kept for the test; none where truth/ exists")
    patch: int = Field(128, ge=16, description="side of a sample, pixels; larger scenes are cropped to it")
    window: int = Field(
        64, ge=16, description="side of the part of a sample on which the U-Net trains, drawn anew each epoch, pixels"
    )
    flips: bool = Field(True, description="mirror training batches at random")
    trees: int = Field(
        48,
        ge=TRENDS * FOLDS,
        multiple_of=TRENDS * FOLDS,
        description="trees of the first guess, a multiple of 12: a third over ridge, a third over climatology",
    )
    analogues: int = Field(5, ge=1, description="most similar days shown to the U-Net")
    max_std: float | None = Field(
        None, ge=0, description="standard deviation above which a pixel stays empty when a scene is filled, data's unit"
    )

    # ---------------------------------------------------------------- data

    @property
    def reading(self) -> ReadOptions:
        """How pixels become values."""
        return ReadOptions.model_validate(self.model_dump(include=set(ReadOptions.model_fields)))

    def history(self) -> Stack:
        """The days to learn from, and companions; a process reads them once."""
        return _read_history(self.data, self.reading, stamp_files(self._files()))

    def static(self) -> Static:
        """Layers that do not change, on the grid of the history; a process reads them once."""
        return _read_static(self.data, stamp_files(self._files()))

    def static_files(self) -> StaticFiles:
        """The same, opened and not read."""
        return _open_static(self.data, stamp_files(self._files()))

    def _files(self) -> list[Path]:
        static, history = self.data / "static", list_rasters(self.data / "history")
        layers = sorted(quality_files(history, self.reading) - {*history})
        beside = [*(list_rasters(static, at_least=0) if static.is_dir() else []), *companion_files(self.data)]
        return history + layers + beside

    def stamp(self) -> str:
        return digest_json([stamp_files(self._files()), self.has_truth])

    def fingerprint(self) -> str:
        self.split(0)  # says what is wrong with the data before anything is written
        if self.network == "autoencoder" and isinstance(self.history().values, OpenDays):
            raise DataError(
                f"{self.data / 'history'} is too large for memory, and problem.network autoencoder must see whole "
                "scenes. Choose problem.network unet."
            )
        return _fingerprint(self.data, tuple(self._files()), self.stamp(), self.has_truth)

    @property
    def has_truth(self) -> bool:
        """True if ``truth/`` holds scenes to judge by, so that no day of the history need be held out for the test."""
        truth = self.data / "truth"
        return truth.is_dir() and bool(list_rasters(truth, at_least=0))

    def split(self, seed: int) -> Split:
        """Divide the days of the history.

        Raises:
            DataError: too few clear days.
        """
        history = self.history()
        clear = clear_days(history.values)
        test = 0 if self.has_truth or not self.test_fraction else max(1, round(len(clear) * self.test_fraction))
        single = max(1, round(len(clear) * self.valid_fraction))
        valid = single if self.networks == 1 else (len(clear) - test) // 2
        if len(clear) < MIN_DAYS or len(clear) - valid - test < 2:
            raise DataError(
                f"too few days: {self.data / 'history'} has {len(clear)} that show at least {MIN_CLEAR:.0%} of the "
                f"scene, {valid} would validate and {test} test; at least {MIN_DAYS} are needed, two of them to train "
                "on. Add days."
            )
        return Split.draw(history.dates, clear.tolist(), valid, test, seed, self.networks)

    def training_days(self, seed: int) -> Stack:
        """The days that training may see."""
        history, chosen = self.history(), set(self.split(seed).train)
        return history.only([day for day, when in enumerate(history.dates) if when.isoformat() in chosen])

    def valid_days(self, seed: int) -> list[str]:
        """The day (ISO date) of each validation sample: those of one day lie side by side."""
        days = self.split(seed).validating
        return [days[number * len(days) // self.valid_samples] for number in range(self.valid_samples)]

    # ---------------------------------------------------------------- samples

    def encode(
        self,
        scene: Image,
        background: Background,
        static: Static,
        rng: np.random.Generator,
        window: Window = WHOLE,
        process: Posterior | None = None,
        normalisation: Normalisation | None = None,
    ) -> Encoded:
        """A scene (NaN in the gaps) as this problem's network sees it.

        Args:
            scene: (height, width).
            background: the other days.
            static: layers that do not change.
            rng: draws trees and pixels.
            window: rows and columns for which maps are wanted.
            process: what the Gaussian process makes of that window; by default it is computed, of fewer pixels.
            normalisation: by default that of the background.
        """
        if self.network == "autoencoder":
            return encode_scene(scene, normalisation or Normalisation.of(background), window)
        guess = guess_scene(scene, background, static, GuessSettings(trees=self.trees), rng, window)
        process = process or process_of(scene, background, static, rng, SAMPLE_SIZE, window)
        return encode_base(scene, background, guess, process, self.analogues, window, normalisation)

    def prepare(self, cache: Path, seed: int, parallel_map: ParallelMap) -> None:
        file, key = SampleFile(cache), self._samples_key(seed)
        if file.holds(key):
            return
        jobs = [job for part in SPLITS for job in self._jobs(seed, part)]
        columns = zip(*parallel_map(make_sample, jobs), strict=True)
        arrays = dict(zip(PARTS, map(np.stack, columns), strict=True))
        if self._samples_key(seed) != key:
            raise DataError(f"{self.data} changed while samples were made of it. Run the same command again.")
        file.write(key, arrays, self._extras(seed))

    def _jobs(self, seed: int, part: Part) -> list[Job]:
        """What the samples of one split are made of; those of a block of validation samples lie side by side."""
        samples = self.train_samples if part == "train" else self.valid_samples
        return [(self, seed, part, number) for number in range(samples)]

    def _samples_key(self, seed: int) -> str:
        decisive = self.model_dump(
            mode="json", exclude={"data", "width", "levels", "loss", "window", "flips", "max_std"}
        )
        return digest_json([decisive, self.fingerprint(), seed, FORMAT_VERSION])

    def _extras(self, seed: int) -> dict[str, Any]:
        history = self.history()
        warn_if_few(len(history))
        normalisation = Normalisation.of(Background.of(OpenDays.stand_in(self.training_days(seed).values)))
        return {
            "unit": history.unit,
            "simulated": history.simulated,
            "seed": seed,
            "split": self.split(seed).model_dump(mode="json"),
            "scale": normalisation.std if self.network == "autoencoder" else normalisation.anomaly_std,
            "valid_blocks": list(Counter(self.valid_days(seed)).values()),
        }

    def load(self, cache: Path, seed: int) -> Data:
        inputs, target, mask = SampleFile(cache).read()
        count = len(self._jobs(seed, "train"))
        learned, held = slice(count), slice(count, None)
        train = Samples(inputs[learned], target[learned], mask[learned])
        extras = self.extras(cache, seed)
        return Data(train, Samples(inputs[held], target[held], mask[held], extras["valid_blocks"]), extras["scale"])

    def extras(self, cache: Path, seed: int) -> dict[str, Any]:
        return SampleFile(cache).extras()

    # ---------------------------------------------------------------- learning

    @property
    def refines_base(self) -> bool:
        return self.network == "unet"

    @property
    def networks(self) -> int:
        """How many networks learn side by side, each from other days: of a subclass that builds its own, one."""
        return self.members if self.network == "unet" and type(self).build_network is GapFill.build_network else 1

    def build_network(self) -> nn.Module:
        if self.network == "autoencoder":
            return Autoencoder()
        return UNet(self.channels, self.width, self.levels, self.members)

    @property
    def channels(self) -> int:
        """How many channels the U-Net sees."""
        return FIXED_CHANNELS + 2 * self.analogues

    def layers(self, network: nn.Module) -> dict[str, tuple[str, ...]]:
        # Standardised values have both signs and exceed 1: only activations that do, or the one in place, may end it.
        output = "output_activation" if self.network == "unet" else "layer4.1"
        ends = {output: (*SIGNED_ACTIVATIONS, "ReLU")} if output in find_activations(network) else {}
        return {**super().layers(network), **ends}

    def augment(self, batch: Batch, draws: Tensor) -> Batch:
        """Mirror each sample at random, and give the U-Net a window of it around a random pixel inside its gap."""
        if self.flips:
            batch = Batch(*(mirrored(part, draws < 0.5) for part in batch if part is not None))
        if self.network == "unet" and max(batch.target.shape[1:]) > self.window:
            batch = windows_of(batch, self.window, 2 * draws[:, 0] % 1)  # what is left of a draw that mirrored
        return batch

    def distort(self, batch: Batch, draws: Tensor, strength: float) -> Batch:
        """Add normal noise to what is observed: the scene itself, and the similar days; never where a cloud is."""
        observed = [0] if self.network == "autoencoder" else [1, *range(-2 * self.analogues, -self.analogues)]
        return batch._replace(inputs=noisy(batch.inputs, observed, NOISE * strength, draws[:, 0]))

    def offered_losses(self) -> tuple[str, ...]:
        return (self.loss, *(name for name in REGRESSION_LOSSES if name != self.loss))

    def losses(self, output: Tensor, batch: Batch) -> tuple[Tensor, int | Tensor]:
        return self.training_loss(output, batch, self.loss)

    def calibrate(self, network: nn.Module, samples: SampleSource, device: str) -> None:
        """Use as much of the correction as validation vouches for, see :func:`trusted_share`."""
        if self.refines_base and isinstance(network, UNet):
            network.share.fill_(1)
            network.share.fill_(trusted_share(network, self, samples, device))

    def training_loss(self, output: Tensor, batch: Batch, name: str | None) -> tuple[Tensor, int | Tensor]:
        """That of each network where its mask counts."""
        return super().training_loss(*judged_each(output, batch), name)

    def validation(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor, int | Tensor]:
        """Of several networks the mean of those that did not learn from a day is what is judged on it."""
        output, batch = out_of_bag(output, batch)
        loss, count = self.losses(output, batch)
        error, _ = self.training_loss(output, batch, "l1")
        return loss, error, count

    # ---------------------------------------------------------------- once it is trained

    def judge(self, archives: Mapping[str, Path], cache: Path, seed: int) -> Judgement:
        from miha.gapfill.judging import judge  # which stands on this module, as do maps

        return judge(self.data, archives)

    def figures(self, archive: Path) -> "dict[str, Figure]":
        from miha.gapfill.maps import example_maps
        from miha.gapfill.network_filler import NetworkFiller

        return example_maps(NetworkFiller(archive, self.data))

    def present(self, archive: Path, parallel_map: ParallelMap, thorough: bool = False) -> Presentation:
        from miha.gapfill.presenting import present_fills

        return present_fills(archive, self.data, parallel_map, thorough)


@lru_cache(maxsize=2)
def _read_history(data: Path, options: ReadOptions, stamp: str) -> Stack:
    return with_companions(read_stack(data / "history", options), data, options)


@lru_cache(maxsize=2)
def _read_static(data: Path, stamp: str) -> Static:
    return read_static(data / "static", first_grid(data / "history"))


@lru_cache(maxsize=2)
def _open_static(data: Path, stamp: str) -> StaticFiles:
    return StaticFiles(data / "static", first_grid(data / "history"))


@lru_cache(maxsize=2)
def _fingerprint(data: Path, files: tuple[Path, ...], stamp: str, has_truth: bool) -> str:
    return digest_json([digest_files(list(files), data), has_truth])
