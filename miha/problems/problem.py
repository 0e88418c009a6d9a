"""What a problem is: data, split, network, loss and metric. Subclass :class:`Problem` for your own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from miha.evolution.hyperparameters.activation import CLASS_ACTIVATIONS, HIDDEN_ACTIVATIONS, find_activations
from miha.evolution.losses import named_loss
from miha.problems.evaluation import judge_on_samples
from miha.problems.judgement import Judgement
from miha.problems.presentation import Plot, Presentation
from miha.problems.samples import Batch, Data, SampleSource

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUILT_IN = {  # name → where it is; imported when it is asked for, since each brings libraries that others do not need
    "gapfill": "miha.gapfill.problem:GapFill",
    "pretraining": "miha.gapfill.pretraining:Pretraining",
    "mnist": "miha.digits.problem:Mnist",
}
NAMES = f"{', '.join(BUILT_IN)}, or module:Class of your own"

ParallelMap = Callable[[Callable[[Any], Any], Iterable[Any]], list[Any]]


class Problem(BaseModel, ABC):
    """A task for one network of fixed topology.

    Its fields are its settings and can be written as JSON, so that a process elsewhere can build it anew. A subclass
    must be importable by that process: define it at the top of a module, not in a function or a notebook cell.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    metric: ClassVar[str]  # name of the extra metric in the history, e.g. "accuracy"
    draws_per_sample: ClassVar[int] = 0  # random numbers that augment takes for each sample
    draws_per_distortion: ClassVar[int] = 0  # those that distort takes; 0: there is no augmentation to tune
    mixed_precision: ClassVar[bool] = False  # True: training gains from bfloat16 where the processor has it
    channels_last: ClassVar[bool] = False  # True: images, in whose channels_last order the network is faster
    max_gradient_norm: ClassVar[float | None] = None  # a longer gradient is shortened to it (Pascanu et al. 2013)
    largest_piece: ClassVar[int | None] = None  # samples that memory holds; of larger batches gradients are summed up
    built_in: ClassVar[str] = ""  # name of one that comes with MIHA; its subclasses go by their import path
    figures_title: ClassVar[str] = "Figures"  # heading above them in the report

    name: str = Field("", description=NAMES)
    data: Path = Field(Path(), description="folder of the data set")

    @model_validator(mode="before")
    @classmethod
    def _name_by_import_path(cls, values: Any) -> Any:
        """A problem that is not built in is known by where it can be imported from, whatever name is given."""
        name = vars(cls).get("built_in") or f"{cls.__module__}:{cls.__qualname__}"
        return {**values, "name": name} if isinstance(values, dict) else values

    def settings(self) -> dict[str, Any]:
        """All settings but paths, as JSON."""
        return self.model_dump(mode="json", exclude={"data"})

    @abstractmethod
    def fingerprint(self) -> str:
        """Digest of the data that training reads.

        Raises:
            DataError: the data set cannot be used.
        """

    def stamp(self) -> str:
        """What tells, without reading the data, that they are as they were; "" where nothing does."""
        return ""

    def prepare(self, cache: Path, seed: int, parallel_map: ParallelMap) -> None:
        """Compute once what every stage needs and keep it in ``cache``. By default nothing."""

    @abstractmethod
    def load(self, cache: Path, seed: int) -> Data:
        """The training and validation samples, the same ones whenever called with one seed."""

    @abstractmethod
    def build_network(self) -> nn.Module:
        """The network with fresh weights; draws them from PyTorch's current generator."""

    @property
    def refines_base(self) -> bool:
        """Whether the network corrects what is there without it, and so must better that by more than noise."""
        return False

    def arguments(self, batch: Batch) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What the network is called with for a batch, by position and by name; by default its inputs alone."""
        return (batch.inputs,), {}

    def example(self, input_shape: tuple[int, ...]) -> Batch:
        """Two samples of the kind that the network takes, to look at what it computes; by default zeros.

        Args:
            input_shape: of one sample.
        """
        return Batch(torch.zeros(2, *input_shape), torch.zeros(2))

    def augment(self, batch: Batch, draws: Tensor) -> Batch:
        """Vary a training batch. By default not at all.

        Args:
            batch: n samples.
            draws: (n, ``draws_per_sample``), uniform in 0 to 1: all the chance there is. Siblings get the same numbers
                for a sample whatever their batch size.
        """
        return batch

    def distort(self, batch: Batch, draws: Tensor, strength: float) -> Batch:
        """Vary a training batch further, as much as the hyperparameter ``augmentation`` says; not called when it is 0.

        Args:
            batch: n samples, as :meth:`augment` returned them.
            draws: (n, ``draws_per_distortion``), like those of :meth:`augment`.
            strength: above 0, at most 1.
        """
        return batch

    @abstractmethod
    def losses(self, output: Tensor, batch: Batch) -> tuple[Tensor, int | Tensor]:
        """The loss summed over the batch, and over how many samples (rasters: target pixels).

        Validation measures by it, and training minimises it unless :meth:`offered_losses` names others.
        """

    def offered_losses(self) -> tuple[str, ...]:
        """Names of the losses in ``miha.evolution.losses`` that training may minimise; the first to start with."""
        return ()

    def training_loss(self, output: Tensor, batch: Batch, name: str | None) -> tuple[Tensor, int | Tensor]:
        """What training minimises, in the form of :meth:`losses`.

        Args:
            output: of the network.
            batch: what it was given.
            name: one of :meth:`offered_losses`; None if the problem offers none.

        Raises:
            ConfigError: no loss of that name.
        """
        if name is None:
            return self.losses(output, batch)
        each: Tensor = named_loss(name)(output, batch.target)
        if batch.mask is None:
            return each.sum(), len(output)
        return (each * batch.mask).sum(), batch.mask.sum()

    def validation(self, output: Tensor, batch: Batch) -> tuple[Tensor, Tensor, int | Tensor]:
        """The validation loss and the metric, both summed over the batch, and the count."""
        loss, count = self.losses(output, batch)
        return loss, loss, count

    def calibrate(self, network: nn.Module, samples: SampleSource, device: str) -> None:
        """Set what of a network validation decides, after each epoch and before it is judged. By default nothing.

        Args:
            network: on the device.
            samples: those that validate.
            device: cpu or cuda.
        """

    def layers(self, network: nn.Module) -> dict[str, tuple[str, ...]]:
        """Where an activation may change, and to what: every module that is one by its type, wherever it sits.

        Left alone are ``nn.Identity``, which stands for no activation in many networks, and what normalises over
        classes (``nn.LogSoftmax``, …), which the loss relies on. Override this for an output layer.
        """
        return {
            path: HIDDEN_ACTIVATIONS
            for path, name in find_activations(network).items()
            if name not in ("Identity", *CLASS_ACTIVATIONS)
        }

    def extras(self, cache: Path, seed: int) -> dict[str, Any]:
        """What an archive must carry so that its network can be used: normalisation, units, … as JSON."""
        return {}

    # ---------------------------------------------------------------- once it is trained

    def test(self) -> SampleSource | None:
        """Samples that training never sees, to judge models by. By default none: then validation samples serve."""
        return None

    def judge(self, archives: Mapping[str, Path], cache: Path, seed: int) -> Judgement:
        """How good trained models are, with whatever else belongs into the comparison.

        By default the mean loss and metric of each on :meth:`test`.

        Args:
            archives: name → model archive of this problem; ``miha`` is the one that is judged, others stand beside it.
            cache: where :meth:`prepare` keeps what :meth:`load` reads.
            seed: of the run.

        Raises:
            ArchiveError: a model that cannot be used with these data.
            DataError: nothing to judge by.
        """
        return judge_on_samples(self, archives, cache, seed)

    def figures(self, archive: Path) -> "dict[str, Figure]":
        """Pictures of what a trained model does, by name, for the report. By default none.

        Raises:
            DataError: the data set has nothing to show.
        """
        return {}

    def present(self, archive: Path, parallel_map: ParallelMap, thorough: bool = False) -> Presentation:
        """What the report shows of a trained model. By default its :meth:`figures`.

        Args:
            archive: of the model.
            parallel_map: computes side by side, as that of :meth:`prepare`.
            thorough: True: all there is; False: what takes seconds, since every run ends with a report.

        Raises:
            ArchiveError: the model cannot be used with these data.
            DataError: the data set has nothing to show.
        """
        title = self.figures_title
        plots = [
            Plot(name.replace("_", " "), f"{title}: {name}", figure) for name, figure in self.figures(archive).items()
        ]
        return Presentation(title=title, plots=plots)
