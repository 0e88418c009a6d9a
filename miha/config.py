"""Everything a user can set. One :class:`RunConfig` serves params.yaml, the command line and the Prefect form."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializeAsAny,
    Tag,
    ValidationError,
    model_validator,
)

from miha.errors import ConfigError
from miha.evolution.fitness import FitnessSettings
from miha.evolution.hyperparameters import OPTIMIZERS, Hyperparameters, Offer, OptimizerName
from miha.evolution.mutation import BOUNDED, SearchSpace
from miha.problems import BUILT_IN, GapFill, Mnist, Problem, build_problem


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Schedule(_Section):
    """How many epochs each stage trains, and how often the population is renewed."""

    initial_epochs: int = Field(8, ge=1, description="epochs before the first population (the article's m)")
    cycles: int = Field(4, ge=0, description="populations, one after another (c)")
    population_size: int = Field(
        4, ge=1, description="candidates of a cycle, the unchanged control among them (pop_size)"
    )
    candidate_epochs: int = Field(2, ge=1, description="epochs of each candidate (n)")
    fixing_epochs: int = Field(3, ge=1, description="epochs of the winner, alone (k)")
    final_epochs: int | None = Field(None, ge=1, description="epochs after the last cycle; default: initial_epochs")
    candidate_annealing: bool = Field(False, description="let each candidate's learning rate fall to zero as well")
    final_annealing: bool = Field(True, description="let the learning rate fall to zero over final training")

    @property
    def closing_epochs(self) -> int:
        """Epochs of final training."""
        return self.initial_epochs if self.final_epochs is None else self.final_epochs

    @property
    def cycle_epochs(self) -> int:
        """Epochs of one cycle, the whole population counted."""
        return self.population_size * self.candidate_epochs + self.fixing_epochs

    @property
    def budget(self) -> int:
        """Epochs of the whole run: 2m + c (pop_size n + k) for equal initial and final training."""
        return self.initial_epochs + self.cycles * self.cycle_epochs + self.closing_epochs


class Start(_Section):
    """Hyperparameters of initial training. Activations are those of the network as it is written."""

    optimizer: OptimizerName = Field("Adam", description=f"one of {', '.join(OPTIMIZERS)}")
    lr: float | None = Field(None, gt=0, description="learning rate; default: the optimizer's own")
    batch_size: int = Field(16, ge=1, description="samples of a batch")
    weight_decay: float | None = Field(None, ge=0, description="decay of the weights; default: the optimizer's own")
    momentum: float | None = Field(
        None, ge=0, lt=1, description="momentum of SGD, beta1 of Adam's relatives; default: the optimizer's own"
    )
    beta2: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="beta2 of Adam's relatives, alpha of RMSprop, rho of Adadelta; default: the optimizer's own",
    )
    loss: str | None = Field(None, description="training loss, one that the problem offers; default: its own")
    dropout: float | None = Field(
        None, ge=0, lt=1, description="probability of all dropout layers; default: as the network is written"
    )
    augmentation: float = Field(0.0, ge=0, le=1, description="strength of the distortion of training samples")

    @model_validator(mode="after")
    def _fit_the_optimizer(self) -> "Start":
        for name, value in OPTIMIZERS[self.optimizer].own.items():
            if value is None and getattr(self, name) is not None:
                raise ValueError(f"{self.optimizer} has no {name}, but it is {getattr(self, name)}. Leave it out")
        return self

    def own(self, name: str) -> float | None:
        """The value of ``name``, or else the optimizer's own."""
        said: float | None = getattr(self, name)
        return OPTIMIZERS[self.optimizer].own.get(name) if said is None else said

    def point(self, activations: dict[str, str], offer: Offer) -> Hyperparameters:
        """The hyperparameters to start with, for a network with these activations.

        Raises:
            ConfigError: a value that the problem or its network has no place for.
        """
        said = self.model_dump()
        if self.loss is None:
            said["loss"] = next(iter(offer.losses), None)
        elif self.loss not in offer.losses:
            offered = f"it offers {', '.join(offer.losses)}" if offer.losses else "it offers none; leave it out"
            raise ConfigError(f"start.loss is {self.loss!r}, which the problem does not offer: {offered}.")
        if self.dropout is None and len(offer.dropouts) == 1:
            said["dropout"] = offer.dropouts[0]
        if self.dropout is not None and not offer.dropouts:
            raise ConfigError(f"start.dropout is {self.dropout}, but the network has no nn.Dropout. Leave it out.")
        if self.augmentation and not offer.augmentation:
            raise ConfigError(f"start.augmentation is {self.augmentation}, but the problem has none. Leave it out.")
        return Hyperparameters.model_validate({**said, "activations": activations})


class Faults(_Section):
    """What to do when a candidate fails."""

    retries: int = Field(2, ge=0, description="further tries after a failure that may pass")
    retry_delay: float = Field(1.0, ge=0, description="mean seconds before another try")
    timeout: float | None = Field(
        None, gt=0, description="seconds before a candidate counts as hung (a longer stage: in proportion); none: never"
    )
    min_survivors: int = Field(1, ge=1, description="candidates that must be left for the cycle to go on")


class Execution(_Section):
    """Where and how to compute. Of these, threads, device and precision decide the last bits of the result."""

    workers: int | None = Field(
        None,
        ge=1,
        description="processes that train side by side; default: one a core, at most one a candidate; on a GPU one",
    )
    dask: str | None = Field(None, description="scheduler of a Dask cluster to train on, tcp://host:8786")
    threads: int = Field(1, ge=1, description="threads of each process")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: cuda where there is one")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of training; auto: bfloat16 for images where the processor has it, else float32"
    )
    keep: Literal["all", "final"] = Field("all", description="archives kept after a successful run")
    checkpoint_every: float = Field(10.0, ge=0, description="seconds of training between checkpoints of a long stage")


def _tag(said: Any) -> str:
    name = said.get("name") if isinstance(said, dict) else getattr(said, "name", None)
    return name if isinstance(name, str) and name in BUILT_IN else _OWN


_OWN = "own"
_AnyProblem = Annotated[
    Annotated[GapFill, Tag("gapfill")]
    | Annotated[Mnist, Tag("mnist")]
    | Annotated[SerializeAsAny[Problem], BeforeValidator(build_problem), Tag(_OWN)],
    Discriminator(_tag),
]


class RunConfig(_Section):
    """The configuration of one run."""

    run_dir: Path = Field(Path("runs/default"), description="folder of the run")
    seed: int = Field(0, ge=0, description="of everything random")
    problem: _AnyProblem = Field(default_factory=GapFill)
    schedule: Schedule = Schedule()
    start: Start = Start()
    search: SearchSpace = SearchSpace()
    fitness: FitnessSettings = FitnessSettings()
    faults: Faults = Faults()
    run: Execution = Execution()
    unchanged: bool = Field(False, description="no population: the same total of epochs with unchanged hyperparameters")
    replace: bool = Field(False, description="remove what another configuration left in the run directory")

    def timeout_of(self, epochs: int) -> float | None:
        """Seconds after which a stage of so many epochs counts as hung: a candidate's, in proportion."""
        return self.faults.timeout and self.faults.timeout * epochs / self.schedule.candidate_epochs

    @model_validator(mode="before")
    @classmethod
    def _name_the_problem(cls, said: Any) -> Any:
        """A problem section that is empty, or has no name, is of the default problem."""
        if isinstance(said, dict) and isinstance(said.get("problem", {}) or {}, dict):
            said = {**said, "problem": {"name": "gapfill", **(said.get("problem") or {})}}
        return said

    @model_validator(mode="after")
    def _fits_together(self) -> "RunConfig":
        if self.faults.min_survivors > self.schedule.population_size:
            raise ValueError(
                f"faults.min_survivors {self.faults.min_survivors} is above schedule.population_size "
                f"{self.schedule.population_size}"
            )
        for name in BOUNDED:
            value, (low, high) = self.start.own(name), self.search.bounds(name)
            if value != self.search.clip(name, value):
                raise ValueError(
                    f"start.{name} {value} is outside search.min_{name} to search.max_{name} ({low} to {high})"
                )
        return self


def make_config(said: dict[str, Any]) -> RunConfig:
    """Validate a configuration.

    Raises:
        ConfigError: unknown keys and bad values, all of them, by name.
    """
    try:
        return RunConfig.model_validate(said)
    except ValidationError as error:
        raise ConfigError(
            "the configuration is wrong:\n" + "\n".join(_explain(problem) for problem in error.errors())
        ) from None


def _explain(problem: Any) -> str:
    # A union puts its tag ("gapfill") into the location; the user never wrote it.
    parts = [str(part) for part in problem["loc"] if part not in (*BUILT_IN, _OWN)]
    key = ".".join(parts) or "configuration"
    if problem["type"] == "extra_forbidden":
        return f"  {key}: no such key"
    message = problem["msg"].removeprefix("Value error, ")
    return f"  {key}: {message}" + ("" if problem["type"] == "value_error" else f" (got {problem['input']!r})")


def read_config(files: Sequence[str], settings: Sequence[str], overrides: dict[str, Any]) -> RunConfig:
    """A configuration from YAML files, ``section.key=value`` settings over them, and keyed overrides over all.

    Args:
        files: paths, each over the ones before; ``FILE:a.b`` takes the section ``a.b`` of a file alone.
        settings: as typed after ``--set``.
        overrides: ``section.key`` → value.

    Raises:
        ConfigError: a file cannot be read, a setting is malformed, or a key or value is wrong.
    """
    said: dict[str, Any] = {}
    for file in files:
        said = _merge(said, _read_section(file))
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {setting!r} is not of the form section.key=value.")
        _put(said, key.strip(), _value(value))
    for key, value in overrides.items():
        _put(said, key, value)
    return make_config(said)


def _value(text: str) -> Any:
    """What is typed after ``--set key=``: YAML, or plain text if it is none (a pattern like ``%Y%j``)."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _read_section(file: str) -> dict[str, Any]:
    """The mapping in a YAML file, or in one section of it; an empty one stands for no keys."""
    path, _, section = file.partition(":")
    try:
        said = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    for key in section.split(".") if section else []:
        if not isinstance(said, dict) or key not in said:
            raise ConfigError(f"{path} has no section {section!r}.")
        said = said[key]
    if not isinstance(said or {}, dict):
        raise ConfigError(f"{file} must hold sections like `schedule:`, but holds a {type(said).__name__}.")
    return said or {}


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Both mappings, section by section; where both have a value, that of ``over``."""
    merged = {**base, **over}
    for key in base.keys() & over.keys():
        if isinstance(base[key], dict) and isinstance(over[key], dict):
            merged[key] = _merge(base[key], over[key])
    return merged


def _put(said: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        inner = said.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"{key}: {section} is not a section but {inner!r}.")
        said = inner
    said[last] = value
