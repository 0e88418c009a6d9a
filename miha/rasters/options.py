"""How the pixels of a raster become values: settings that a problem and the command line share."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from miha.errors import ConfigError
from miha.rasters.dates import pattern_mistake
from miha.rasters.masks import ClearRule


def _usable(pattern: str | None) -> str | None:
    if pattern and (mistake := pattern_mistake(pattern)):
        raise ValueError(mistake)
    return pattern


def _ordered(limits: tuple[float, float] | None) -> tuple[float, float] | None:
    if limits and not limits[0] < limits[1]:
        raise ValueError(f"the least value {limits[0]:g} is not below the greatest, {limits[1]:g}")
    return limits


def _listed(codes: Any) -> Any:
    """Codes may be given as one number, a list, or nothing."""
    return () if codes is None else (codes,) if isinstance(codes, (int, float, str)) else codes


Codes = Annotated[tuple[float, ...], BeforeValidator(_listed, json_schema_input_type=float | list[float] | None)]


# Not by reference: the schema of a problem becomes part of another.
_IN_PLACE = WithJsonSchema({"anyOf": [ClearRule.model_json_schema(), {"type": "null"}]})


class ReadOptions(BaseModel):
    """How pixels become values."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    band: int = Field(1, ge=1, description="band of each raster, from 1")
    nodata: Codes = Field(
        (), description="stored numbers of missing pixels to fill, one or a list, beside the file's tag and NaN"
    )
    keep: Codes = Field((), description="stored numbers of pixels without an observation that stay, e.g. sea")
    clear: Annotated[ClearRule | None, _IN_PLACE] = Field(
        None, description="which pixels a quality layer calls clear: band or file, bits, values (below)"
    )
    grow: int = Field(0, ge=0, le=1000, description="pixels by which gaps grow in all directions, over rims of clouds")
    observed: Codes = Field((), description="stored numbers that look like codes but were observed")
    valid_range: Annotated[tuple[float, float] | None, AfterValidator(_ordered)] = Field(
        None,
        description="least and greatest value that a filled pixel may take, in the data's unit; none: those of the "
        "product, where `miha prepare` made the data",
    )
    strict: bool = Field(False, description="refuse unusable days, instead of leaving them out with a warning")
    date_pattern: Annotated[str | None, AfterValidator(_usable)] = Field(
        None, description="strptime pattern of the date in file names, e.g. %d-%m-%Y; most names need none"
    )

    @property
    def plain(self) -> "ReadOptions":
        """How filled scenes are read: quality layers tell of what was not filled."""
        return self.model_copy(update={"clear": None, "grow": 0})


def read_options(**given: Any) -> ReadOptions:
    """Options as typed on the command line.

    Raises:
        ConfigError: a value that cannot be.
    """
    try:
        return ReadOptions(**given)
    except ValidationError as error:
        first = error.errors()[0]
        option, *inner = (str(part) for part in first["loc"])
        where = ": ".join([f"--{option.replace('_', '-')}", *inner])
        raise ConfigError(f"{where}: {first['msg'].removeprefix('Value error, ')}.") from None
