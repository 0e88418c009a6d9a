"""What a prepared stack is made of, as ``stack.json`` says it."""

from datetime import date
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from miha.files import write_json
from miha.wording import plural

STACK_FILE = "stack.json"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DayRecord(_Entry):
    """A day of a stack: its file, the scenes it was made of, and the share of pixels that it shows (0 to 1)."""

    date: date
    file: str
    sources: tuple[str, ...]
    valid: float


class LeftOut(_Entry):
    """What was not used, and why."""

    file: str
    reason: str


class GridRecord(_Entry):
    """Where pixels lie; six numbers of the transform as GDAL's affine has them (a, b, c, d, e, f)."""

    crs: str
    transform: tuple[float, ...]
    height: int
    width: int


class StackRecord(_Entry):
    """A stack that was prepared.

    ``valid_range`` is that of the product, in the stack's unit; ``hours`` are the times of day that were asked for.
    """

    product: str
    layer: str
    title: str
    unit: str
    valid_range: tuple[float, float] | None = None
    licence: str
    source: tuple[str, ...]
    daily: str
    hours: str = ""
    grid: GridRecord
    days: tuple[DayRecord, ...]
    left_out: tuple[LeftOut, ...]
    miha: str  # version that wrote it

    @property
    def valid(self) -> float:
        """Share of pixels that the days show, on average."""
        return sum(day.valid for day in self.days) / len(self.days)

    def summary(self) -> str:
        """What it is, in a line."""
        return (
            f"{self.product} {self.layer}: {plural(len(self.days), 'day')} of "
            f"{self.grid.height}x{self.grid.width} pixels, {self.days[0].date} to {self.days[-1].date}, "
            f"{self.valid:.0%} seen, {plural(len(self.left_out), 'scene')} left out"
        )


def write_record(folder: Path, record: StackRecord) -> None:
    """Write ``stack.json`` of a data set."""
    write_json(folder / STACK_FILE, record.model_dump(mode="json"))
