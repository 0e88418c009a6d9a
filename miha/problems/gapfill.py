"""Gap filling: learn to restore pixels under clouds that were pasted on clear days.

A data set is a folder of GeoTIFFs: ``history/`` (the days to learn from), ``static/`` (terrain, land cover; optional).
Nothing else is read in training. A sample is a day with a gap pasted on it; loss and fitness are taken on the pixels
inside the gap whose truth is known.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from torch import Tensor, nn

from miha.errors import DataError, StorageError
from miha.evolution.hyperparameters import REGRESSION_LOSSES, SIGNED_ACTIVATIONS
from miha.evolution.seeds import stream
from miha.files import digest_file, digest_files, digest_json, replacing, write_text
from miha.problems.augmentation import mirrored, window_around, windows_of
from miha.problems.base import Batch, Data, ParallelMap, Problem, Samples, find_activations
from miha.problems.encoding import FIXED_CHANNELS, Encoded, Normalisation, encode_guess, encode_scene
from miha.problems.nets.autoencoder import Autoencoder
from miha.problems.nets.unet import UNet
from miha.rasters.gaps import LARGEST, SMALLEST, Gaps
from miha.rasters.guess import FOLDS, TRENDS, WHOLE, GuessSettings, Window
from miha.rasters.predictors import Background, Static, read_static
from miha.rasters.stack import Image, ReadOptions, Stack, list_rasters, read_stack
from miha.records.archive import FORMAT_VERSION

MIN_CLEAR = 0.3  # a day must show so much of what any day shows to have gaps pasted on it
MIN_DAYS = 4  # days that clear: two to learn from, one to validate on, one to test on
MIN_VISIBLE = 32  # pixels that a pasted gap must leave to see
NOISE = 0.2  # standard deviations of what is observed, at an augmentation of 1
MIN_TARGETS = 16  # pixels of known truth that a pasted gap must hide


class Sources(NamedTuple):
    """What a data set offers to training and filling."""

    history: Stack
    static: Static


class Split(BaseModel):
    """Which days of the history (ISO dates) train, validate and test."""

    model_config = ConfigDict(frozen=True)

    train: tuple[str, ...]
    valid: tuple[str, ...]
    test: tuple[str, ...]


class GapFill(Problem):
    """Fill the gaps of raster scenes with a U-Net that refines a first guess, or with the article's autoencoder."""

    metric: ClassVar[str] = "mae"
    mixed_precision: ClassVar[bool] = True
    channels_last: ClassVar[bool] = True
    draws_per_sample: ClassVar[int] = 2
    draws_per_distortion: ClassVar[int] = 1

    name: str = Field("gapfill", description="gapfill, mnist, or module:Class of your own")
    network: Literal["unet", "autoencoder"] = Field(
        "unet", description="unet: refines a guess by ridge and trees; autoencoder: the article's, sees the scene alone"
    )
    width: int = Field(16, ge=1, le=256, description="channels of the U-Net's first level")
    levels: int = Field(3, ge=1, le=6, description="resolutions of the U-Net")
    loss: Literal["l1", "mse"] = Field(
        "l1", description="of validation and fitness, and of training at first; standardised values"
    )
    train_samples: int = Field(640, ge=1, description="days with a pasted gap to train on")
    valid_samples: int = Field(96, ge=1, description="the same, to validate on")
    valid_fraction: float = Field(0.15, gt=0, lt=1, description="part of the clear days kept for validation")
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
    band: int = Field(1, ge=1, description="band of each raster, from 1")
    nodata: float | None = Field(None, description="code of missing pixels, beside the file's tag and NaN")
    date_pattern: str | None = Field(None, description="strptime pattern of file names, e.g. MOD11A1.A%Y%j")

    # ---------------------------------------------------------------- data

    @property
    def reading(self) -> ReadOptions:
        """How pixels become values."""
        return ReadOptions(self.band, self.nodata, self.date_pattern)

    def sources(self) -> Sources:
        """History and static layers; a process reads them once."""
        return _read_sources(
            self.data, self.reading, tuple((str(path), path.stat().st_mtime_ns) for path in self._files())
        )

    def _files(self) -> list[Path]:
        static = self.data / "static"
        return list_rasters(self.data / "history") + (list_rasters(static, at_least=0) if static.is_dir() else [])

    def fingerprint(self) -> str:
        self.split(0)  # says what is wrong with the data before anything is written
        return digest_json([digest_files(self._files(), self.data), self.has_truth])

    @property
    def has_truth(self) -> bool:
        """True if ``truth/`` holds scenes to judge by, so that no day of the history need be held out for the test."""
        truth = self.data / "truth"
        return truth.is_dir() and bool(list_rasters(truth, at_least=0))

    def split(self, seed: int) -> Split:
        """Divide the days of the history; only clear days validate and test, all others train.

        Each clear day has a place of its own in a random order, and the first of them test: as days are added, none
        that trained becomes a test day, unless their number more than doubles at once.

        Raises:
            DataError: too few clear days.
        """
        history = self.sources().history
        clear = clear_days(history.values)
        valid = max(1, round(len(clear) * self.valid_fraction))
        test = 0 if self.has_truth or not self.test_fraction else max(1, round(len(clear) * self.test_fraction))
        if len(clear) < MIN_DAYS or len(clear) - valid - test < 2:
            raise DataError(
                f"too few days: {self.data / 'history'} has {len(clear)} that show at least {MIN_CLEAR:.0%} of the "
                f"scene, {valid} would validate and {test} test; at least {MIN_DAYS} are needed, two of them to train "
                "on. Add days."
            )
        drawn = sorted(clear.tolist(), key=lambda day: stream(seed, "split", history.dates[day].toordinal()).random())
        parts = {"test": drawn[:test], "valid": drawn[test : test + valid]}
        parts["train"] = [day for day in range(len(history)) if day not in drawn[: test + valid]]
        return Split(
            **{part: tuple(history.dates[day].isoformat() for day in sorted(days)) for part, days in parts.items()}
        )

    def training_days(self, seed: int) -> Stack:
        """The days that training may see."""
        history, chosen = self.sources().history, set(self.split(seed).train)
        return history.only([day for day, when in enumerate(history.dates) if when.isoformat() in chosen])

    def extras(self, cache: Path, seed: int) -> dict[str, Any]:
        sources = self.sources()
        return {
            "unit": sources.history.unit,
            "simulated": sources.history.simulated,
            "seed": seed,
            "normalisation": Normalisation.of(self.training_days(seed).values).model_dump(),
            "static": [layer.model_dump(mode="json") for layer in sources.static.layers],
            "split": self.split(seed).model_dump(mode="json"),
        }

    # ---------------------------------------------------------------- samples

    def encode(
        self,
        scene: Image,
        background: Background,
        static: Static,
        normalisation: Normalisation,
        rng: np.random.Generator,
        window: Window = WHOLE,
    ) -> Encoded:
        """A scene (NaN in the gaps) as this problem's network sees it."""
        if self.network == "autoencoder":
            return encode_scene(scene, normalisation, window)
        settings = GuessSettings(trees=self.trees)
        return encode_guess(scene, background, static, normalisation, settings, self.analogues, rng, window)

    def prepare(self, cache: Path, seed: int, parallel_map: ParallelMap) -> None:
        file = self._samples_file(cache, seed)
        checksum = file.with_suffix(".sha256")
        if file.exists() and checksum.exists() and checksum.read_text() == digest_file(file):
            return
        jobs = [(self, seed, "train", number) for number in range(self.train_samples)]
        jobs += [(self, seed, "valid", number) for number in range(self.valid_samples)]
        inputs, target, mask = (np.stack(column) for column in zip(*parallel_map(_make_sample, jobs), strict=True))
        if self._samples_file(cache, seed) != file:
            raise DataError(f"{self.data} changed while samples were made of it. Run the same command again.")
        arrays = {"inputs": inputs, "target": target, "mask": mask}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        with replacing(file) as temporary:
            try:
                safetensors.torch.save_file(tensors, temporary)
            except SafetensorError as error:
                raise StorageError(f"cannot write {file}: {error}. Free space or choose another --run-dir.") from error
        write_text(checksum, digest_file(file))

    def _samples_file(self, cache: Path, seed: int) -> Path:
        decisive = self.model_dump(mode="json", exclude={"data", "width", "levels", "loss", "window", "flips"})
        return cache / f"samples-{digest_json([decisive, self.fingerprint(), seed, FORMAT_VERSION])[:16]}.safetensors"

    def load(self, cache: Path, seed: int) -> Data:
        tensors = safetensors.torch.load_file(self._samples_file(cache, seed))  # mapped: workers share the memory
        parts = [tensors[name] for name in ("inputs", "target", "mask")]
        train, valid = (
            Samples(*(part[cut] for part in parts))
            for cut in (slice(self.train_samples), slice(self.train_samples, None))
        )
        normalisation = Normalisation.of(self.training_days(seed).values)
        return Data(train, valid, normalisation.std if self.network == "autoencoder" else normalisation.anomaly_std)

    # ---------------------------------------------------------------- learning

    def build_network(self) -> nn.Module:
        if self.network == "autoencoder":
            return Autoencoder()
        static = self.sources().static
        channels = FIXED_CHANNELS + len(static.continuous) + len(static.one_hot) + 2 * self.analogues
        return UNet(channels, self.width, self.levels)

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
        inputs = batch.inputs.clone()
        observed = [0] if self.network == "autoencoder" else [1, *range(-2 * self.analogues, -self.analogues)]
        for sample, draw in zip(inputs, (draws[:, 0] * 2**24).long().tolist(), strict=True):
            seen = sample[observed]
            noise = torch.randn(seen.shape, generator=torch.Generator().manual_seed(draw))
            sample[observed] = seen + NOISE * strength * noise * (seen != 0)  # 0 stands for what is hidden
        return batch._replace(inputs=inputs)

    def offered_losses(self) -> tuple[str, ...]:
        return (self.loss, *(name for name in REGRESSION_LOSSES if name != self.loss))

    def losses(self, output: Tensor, batch: Batch) -> tuple[Tensor, int | Tensor]:
        return self.training_loss(output, batch, self.loss)

    def validation(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor, int | Tensor]:
        loss, count = self.losses(output, batch)
        error, _ = self.training_loss(output, batch, "l1")
        return loss, error, count


@lru_cache(maxsize=2)
def _read_sources(data: Path, options: ReadOptions, stamp: tuple[tuple[str, int], ...]) -> Sources:
    history = read_stack(data / "history", options)
    return Sources(history, read_static(data / "static", history.grid))


def clear_days(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Which of the days (days, height, width) show MIN_CLEAR of all that any day shows: not of what is never seen."""
    seen = ~np.isnan(values)
    return np.flatnonzero(seen.sum(axis=(1, 2)) >= MIN_CLEAR * seen.any(axis=0).sum())


def paste_gap(day: Image, gaps: Gaps, fraction: float, rng: np.random.Generator) -> Image:
    """Hide about ``fraction`` of the visible pixels of a day; draws again until there is something to see and to learn.

    Raises:
        DataError: no drawn gap leaves MIN_VISIBLE pixels and hides MIN_TARGETS.
    """
    visible = ~np.isnan(day)
    for _ in range(100):
        gap = gaps.draw(fraction, day.shape, rng)
        if (visible & ~gap).sum() >= MIN_VISIBLE and (visible & gap).sum() >= MIN_TARGETS:
            return np.where(gap, np.float32(np.nan), day)
        fraction = rng.uniform(SMALLEST, LARGEST)
    raise DataError(f"the scenes ({day.shape[0]}x{day.shape[1]} pixels) are too small to paste gaps on.")


Sample = tuple[NDArray[np.float32], Image, Image]  # inputs (n, height, width), target and mask (height, width)


def _make_sample(job: tuple[GapFill, int, Literal["train", "valid"], int]) -> Sample:
    """Draw one day and one gap. Validation gaps are spread evenly over all sizes, training gaps at random."""
    problem, seed, part, number = job
    rng = stream(seed, "samples", 0 if part == "train" else 1, number)
    sources, split, training = problem.sources(), problem.split(seed), problem.training_days(seed)
    gaps = Gaps.of(training.values)
    if part == "train":
        chosen = int(rng.choice(clear_days(training.values)))
        day, others = training.values[chosen], np.delete(training.values, chosen, axis=0)
        fraction = rng.uniform(SMALLEST, LARGEST)
    else:
        when = split.valid[number % len(split.valid)]
        day = sources.history.values[[taken.isoformat() for taken in sources.history.dates].index(when)]
        others = training.values
        fraction = SMALLEST + (LARGEST - SMALLEST) * (number + 0.5) / problem.valid_samples
    scene = paste_gap(day, gaps, fraction, rng)
    hidden = np.isnan(scene) & ~np.isnan(day)
    window = window_around(hidden, problem.patch, int(rng.integers(hidden.sum())))
    encoded = problem.encode(
        scene, Background.of(others), sources.static, Normalisation.of(training.values), rng, window
    )
    target = np.where(hidden[window], (day[window] - encoded.base) / encoded.scale, 0).astype(np.float32)
    return encoded.channels, target, hidden[window].astype(np.float32)
