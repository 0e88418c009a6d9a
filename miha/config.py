"""Everything a user can set. One :class:`RunConfig` serves params.yaml, the command line and the Prefect form."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from miha.errors import ConfigError
from miha.evolution.fitness import FitnessSettings
from miha.evolution.hyperparameter import Section
from miha.evolution.point import SearchSpace, Start
from miha.evolution.steps import Step
from miha.problems.problem import BUILT_IN, Problem
from miha.problems.registry import build_problem, problem_class
from miha.wording import meant, plural

_Section = TypeVar("_Section", bound=Section)


class Schedule(Section):
    """How many epochs each stage trains, and how often the population is renewed."""

    initial_epochs: int = Field(8, ge=1, description="epochs before the first population (the article's m)")
    cycles: int = Field(4, ge=0, description="populations, one after another (c)")
    population_size: int = Field(
        4, ge=1, description="candidates of a cycle, the unchanged control among them (pop_size)"
    )
    candidate_epochs: int = Field(2, ge=1, description="epochs of each candidate (n)")
    racing: int = Field(
        0, ge=0, description="epochs after which the worse half of the candidates stops; 0: all train to their end"
    )
    soups: bool = Field(False, description="let the mean of a cycle's candidates go on if it is as good as the fittest")
    own_orders: bool = Field(False, description="show each candidate the samples in an order of its own")
    put_off: bool = Field(
        False, description="after a cycle that the control won, train the epochs of the next one on the mainline"
    )
    averaging: float = Field(
        0.0, ge=0, description="judge and keep the mean of the weights over so many epochs; 0: the weights themselves"
    )
    patience: int | None = Field(
        None, ge=1, description="end the search once the mainline has had no lower validation loss for so many epochs"
    )
    max_seconds: float | None = Field(
        None, gt=0, description="end the search once it has trained for so long; final training follows"
    )
    insist: bool = Field(
        False, description="where a network refines a base: go on though no model bettered it in the first cycle"
    )
    transition: int = Field(
        0, ge=0, description="epochs in which a layer goes over to a new activation, step by step; 0: at once"
    )
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
        return self.population_size * self.racing + self.finishers * self.finishing_epochs + self.fixing_epochs

    @property
    def finishers(self) -> int:
        """Candidates that train to their end."""
        return math.ceil(self.population_size / 2) if self.racing else self.population_size

    @property
    def finishing_epochs(self) -> int:
        """Epochs of candidates after the worse half has stopped; without racing all of them."""
        return self.candidate_epochs - self.racing

    @model_validator(mode="after")
    def _a_race_has_a_second_half(self) -> "Schedule":
        if self.racing >= self.candidate_epochs and self.racing:
            raise ValueError(f"racing {self.racing} must be less than candidate_epochs {self.candidate_epochs}")
        return self

    @model_validator(mode="after")
    def _patience_lasts_a_cycle(self) -> "Schedule":
        least = self.candidate_epochs + self.fixing_epochs
        if self.patience is not None and self.patience < least:
            raise ValueError(
                f"patience {self.patience} is less than the {least} epochs that a cycle adds to the mainline "
                f"(candidate_epochs {self.candidate_epochs} + fixing_epochs {self.fixing_epochs})"
            )
        return self

    def describe(self, unchanged: bool) -> str:
        """The budget as a sum, and what it is spent on."""
        m, c, p, n, k = (
            self.initial_epochs,
            self.cycles,
            self.population_size,
            self.candidate_epochs,
            self.fixing_epochs,
        )
        spent = "unchanged hyperparameters" if unchanged else f"{plural(c, 'cycle')} of {plural(p, 'candidate')}"
        candidates = f"{p}·{self.racing} + {self.finishers}·{self.finishing_epochs}" if self.racing else f"{p}·{n}"
        limits = {"patience": self.patience, "max_seconds": self.max_seconds}
        given = ", ".join(f"{name} {value:g}" for name, value in limits.items() if value is not None)
        at_most = f"; at most: {given}" if given else ""
        return f"{m} + {c} × ({candidates} + {k}) + {self.closing_epochs}; {spent}{at_most}"

    @property
    def budget(self) -> int:
        """Epochs of the whole run: 2m + c (pop_size n + k) for equal initial and final training."""
        return self.initial_epochs + self.cycles * self.cycle_epochs + self.closing_epochs


class Faults(Section):
    """What to do when a candidate fails."""

    retries: int = Field(2, ge=0, description="further tries after a failure that may pass")
    retry_delay: float = Field(1.0, ge=0, description="mean seconds before another try")
    timeout: float | None = Field(
        None, gt=0, description="seconds before a candidate counts as hung (a longer stage: in proportion); none: never"
    )
    min_survivors: int = Field(1, ge=1, description="candidates that must be left for the cycle to go on")


class Execution(Section):
    """Where and how to compute. Of these, threads, device and precision decide the last bits of the result."""

    workers: int | None = Field(
        None,
        ge=1,
        description="processes that train side by side; default: one a core, at most one a candidate; on a GPU one",
    )
    dask: str | None = Field(None, description="scheduler of a Dask cluster to train on, tcp://host:8786")
    threads: int = Field(1, ge=1, description="threads of each process")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="cpu, cuda, or auto: cuda where there is one")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="float32, bfloat16, or auto: of images bfloat16 where the processor has it, else float32"
    )
    keep: Literal["all", "final"] = Field(
        "all", description="archives kept after a successful run: all, or final: base, final and best"
    )
    checkpoint_every: float = Field(10.0, ge=0, description="seconds of training between checkpoints of a long stage")


DEFAULT_PROBLEM = "gapfill"


class _AnyProblem:
    """Any subclass of Problem; to a form, the problems that come with MIHA and can be imported."""

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        kinds = []
        for name in BUILT_IN:
            try:
                kinds.append(problem_class(name).model_json_schema())
            except ValueError:
                continue  # its libraries are not installed
        return {"anyOf": [*kinds, {"type": "object", "title": "module:Class of your own"}], "title": "problem"}


class RunConfig(Section):
    """The configuration of one run."""

    run_dir: Path = Field(Path("runs/default"), description="folder of the run")
    seed: int = Field(0, ge=0, description="seed of all random numbers")
    problem: Annotated[SerializeAsAny[Problem], BeforeValidator(build_problem), _AnyProblem()] = Field(
        default_factory=lambda: build_problem({"name": DEFAULT_PROBLEM})
    )
    schedule: Schedule = Schedule()
    start: Start = Start()
    search: SearchSpace = SearchSpace()
    fitness: FitnessSettings = FitnessSettings()
    faults: Faults = Faults()
    run: Execution = Execution()
    pretrained: Path | None = Field(
        None, description="model archive of the same network, whose weights and activations the run starts from"
    )
    replay: tuple[Step, ...] = Field(
        (), description="steps to train along in place of a population, those of a schedule.yaml (miha replay)"
    )
    unchanged: bool = Field(False, description="no population: the same total of epochs with unchanged hyperparameters")
    replace: bool = Field(False, description="remove what another configuration left in the run directory")

    @property
    def budget(self) -> int:
        """Epochs of the whole run."""
        return sum(step.epochs for step in self.replay) if self.replay else self.schedule.budget

    def describe(self) -> str:
        """The budget as a sum, and what it is spent on."""
        if self.replay:
            return f"{' + '.join(str(step.epochs) for step in self.replay)}; a schedule replayed"
        return self.schedule.describe(self.unchanged)

    def timeout_of(self, epochs: int) -> float | None:
        """Seconds after which a stage of so many epochs counts as hung: a candidate's, in proportion."""
        return self.faults.timeout and self.faults.timeout * epochs / self.schedule.candidate_epochs

    @model_validator(mode="before")
    @classmethod
    def _name_the_problem(cls, values: Any) -> Any:
        """A problem section that is empty, or has no name, is of the default problem."""
        if isinstance(values, dict) and isinstance(values.get("problem", {}) or {}, dict):
            values = {**values, "problem": {"name": DEFAULT_PROBLEM, **(values.get("problem") or {})}}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> "RunConfig":
        if self.faults.min_survivors > self.schedule.population_size:
            raise ValueError(
                f"faults.min_survivors {self.faults.min_survivors} is above schedule.population_size "
                f"{self.schedule.population_size}"
            )
        if len(self.replay) == 1:
            raise ValueError("replay holds one step; a run has at least two, initial and final training")
        self.search.check(self.start)
        return self


def make_config(values: dict[str, Any]) -> RunConfig:
    """Validate a configuration.

    Raises:
        ConfigError: unknown keys and bad values, all of them, by name.
    """
    return validated(RunConfig, values)


def validated(kind: type[_Section], values: dict[str, Any]) -> _Section:
    """Validate the keys of one section.

    Raises:
        ConfigError: unknown keys and bad values, all of them, by name.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError("the configuration is wrong:\n" + "\n".join(_mistakes(error, kind))) from None


def _mistakes(error: ValidationError, kind: type[BaseModel], section: str = "") -> Iterator[str]:
    """A line for each mistake; of a problem, which is validated by itself, for each of its own."""
    for mistake in error.errors():
        key = section + ".".join(str(part) for part in mistake["loc"])
        inner = mistake.get("ctx", {}).get("error")
        if isinstance(inner, ValidationError):
            yield from _mistakes(inner, problem_class(mistake["input"]["name"]), f"{key}.")
        elif mistake["type"] == "extra_forbidden":
            *sections, last = map(str, mistake["loc"])
            yield f"  {key}: no such key{meant(last, _keys(kind, sections))}"
        else:
            value = "" if mistake["type"] == "value_error" else f" (got {mistake['input']!r})"
            yield f"  {key or 'configuration'}: {mistake['msg'].removeprefix('Value error, ')}{value}"


def _keys(kind: type[BaseModel], sections: Sequence[str]) -> Iterable[str]:
    """The keys of a section of a model."""
    for section in sections:
        inner = kind.model_fields[section].annotation if section in kind.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return ()
        kind = inner
    return kind.model_fields
