"""Products: how the scenes of an archive are named, scaled and masked, as small YAML files."""

from collections.abc import Iterator, Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_args

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from miha.errors import ConfigError
from miha.products.patterns import Pattern
from miha.rasters.masks import BitRule
from miha.rasters.options import Codes

Daily = Literal["first", "mean", "best"]
_Model = TypeVar("_Model", bound=BaseModel)


def _pattern(text: str) -> str:
    Pattern(text)
    return text


def _several(given: Any) -> Any:
    """One, or a list of them."""
    return given if isinstance(given, (list, tuple)) else () if given is None else (given,)


PatternText = Annotated[str, AfterValidator(_pattern)]
Band = Annotated[int, Field(ge=1)] | str


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class QualityRule(BitRule):
    """A rule by which pixels are clear, and the quality layer that it reads."""

    file: PatternText | None = Field(
        None,
        description="pattern of its file, in the scene's folder or else anywhere in the download; {fields} hold what "
        "they hold in the scene's path, {name} is its name without suffix, {date:%Y%j} its day; none: the scene's file",
    )
    subdataset: str | None = Field(
        None, description="the layer within its file, by the end of its name; * for anything"
    )
    band: Band = Field(1, description="band of the layer, by number from 1 or by name")


class Geolocation(_Part):
    """Where longitudes and latitudes of a swath are written, pixel by pixel."""

    file: PatternText = Field(description="pattern of the file, as for a quality layer")
    longitude: str = Field(description="subdataset of longitudes, degrees")
    latitude: str = Field(description="subdataset of latitudes, degrees")


class Storage(_Part):
    """How the stack stores values: value = number x scale + offset."""

    dtype: Literal["uint8", "int16", "uint16", "float32"] = Field("float32", description="type of the stored numbers")
    scale: float = Field(1.0, gt=0, description="value of a step of the stored numbers")
    offset: float = Field(0.0, description="value of the stored number 0")
    nodata: float | None = Field(None, description="stored number of missing pixels; of integers it must be given")

    @model_validator(mode="after")
    def _has_nodata(self) -> "Storage":
        if self.dtype != "float32" and self.nodata is None:
            raise ValueError("integers need a nodata number")
        return self


class Recipe(_Part):
    """How scenes of one layer in one form of download are found and read."""

    files: Annotated[tuple[PatternText, ...], BeforeValidator(_several), Field(min_length=1)] = Field(
        description="pattern of the files with scenes, or several; {layer} is the chosen layer, {date:%Y%m%d} the day"
    )
    subdataset: str | None = Field(None, description="the scene within a file of several, by the end of its name")
    band: Band = Field(1, description="band of the scene, by number from 1 or by name")
    days: Literal["files", "bands"] = Field(
        "files",
        description="what is a day: a file, or a band of a cube whose time axis says which; band is ignored then",
    )
    scale: float | None = Field(None, description="value = stored number x scale + offset; none: the file's own")
    offset: float | None = Field(None, description="added after scaling; none: the file's own")
    nodata: Codes = Field((), description="stored numbers of missing pixels, beside the file's nodata and NaN")
    valid_range: tuple[float, float] | None = Field(
        None, description="least and greatest stored number of a value; others are gaps, and no gap is filled with one"
    )
    unit: str = Field("", description="of the values; none: the file's own")
    clear: Annotated[tuple[QualityRule, ...], BeforeValidator(_several)] = Field(
        (), description="rules by which pixels are clear, one or a list of which all must hold"
    )
    grow: int = Field(0, ge=0, le=1000, description="pixels by which gaps grow in all directions, over rims of clouds")
    resampling: Literal["nearest", "bilinear", "cubic", "average", "mode"] = Field(
        "bilinear", description="of values, where a scene lies on another grid; quality layers take the nearest"
    )
    daily: Daily = Field("first", description="what a pixel takes of several scenes of one day: first, mean, or best")
    geolocation: Geolocation | None = Field(None, description="of swaths, which lie on no grid")
    store: Storage = Field(Storage(), description="numbers in which the stack is written")


class _Head(_Part):
    name: str
    title: str
    about: str = ""
    source: Annotated[tuple[str, ...], BeforeValidator(_several)] = ()
    licence: str = ""


class Product(_Head):
    """A product of an archive: its layers, and for each the forms in which it may be downloaded.

    Attributes:
        name: by which it is chosen.
        title: what it is, one line.
        about: what a user should know.
        source: where scales, bits and names are documented.
        licence: of the data.
        recipes: layer → a recipe for each form of download; the first layer is the default.
    """

    recipes: Mapping[str, tuple[Recipe, ...]]

    def of_layer(self, layer: str | None) -> tuple[str, tuple[Recipe, ...]]:
        """Name and recipes of a layer, or of the default one.

        Raises:
            ConfigError: no such layer.
        """
        chosen = layer or next(iter(self.recipes))
        if chosen not in self.recipes:
            raise ConfigError(f"--layer {chosen}: {self.name} has {', '.join(self.recipes)}.")
        return chosen, self.recipes[chosen]


def shipped() -> dict[str, str]:
    """Name → YAML text of the products of this package, sorted."""
    folder = resources.files("miha.products") / "shipped"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".yaml")), key=lambda file: file.name)
    return {file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8") for file in files}


def read_product(named: str) -> Product:
    """A product of this package by its name, or that of a YAML file by its path.

    Raises:
        ConfigError: no such product or file, no YAML, a key that is unknown or missing, or a value that cannot be.
    """
    known = shipped()
    if named in known:
        return parse_product(known[named], named)
    path = Path(named)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise ConfigError(
            f"--product {named} is unknown; known are {', '.join(known)}. For one of your own, give a .yaml file."
        )
    try:
        return parse_product(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--product {path} cannot be read ({getattr(error, 'strerror', 'no UTF-8')}).") from error


def read_daily(given: str | None) -> Daily | None:
    """How several scenes of a day are taken, as typed; None: as the product says.

    Raises:
        ConfigError: no such way.
    """
    if given is None:
        return None
    for way in get_args(Daily):
        if way == given:
            return cast("Daily", way)
    raise ConfigError(f"--daily {given}: choose one of {', '.join(get_args(Daily))}.")


def parse_product(text: str, where: str) -> Product:
    """A product from YAML; ``where`` names its file in messages.

    Raises:
        ConfigError: as :func:`read_product`.
    """
    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is no YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(given, dict):
        raise ConfigError(f"{where} must hold keys and values; start from what `miha products generic` prints.")
    head = _checked(_Head, {key: given[key] for key in _Head.model_fields if key in given}, where, "")
    base = {key: value for key, value in given.items() if key not in (*_Head.model_fields, "layers", "forms")}
    layers = given.get("layers") or {"values": None}
    if not isinstance(layers, dict):
        raise ConfigError(f"{where}: layers must hold names of layers, each with keys of its own.")
    recipes = {str(name): tuple(_recipes(base, given, str(name), own, where)) for name, own in layers.items()}
    return Product(**head.model_dump(), recipes=recipes)


def _recipes(base: dict[str, Any], given: dict[str, Any], layer: str, own: Any, where: str) -> Iterator[Recipe]:
    """Keys of the product, over them those of the layer, over them those of each form of download."""
    own = own or {}
    forms = (own.get("forms") if isinstance(own, dict) else None) or given.get("forms") or [{}]
    for number, form in enumerate(_several(forms), start=1):
        place = (f"layer {layer}" if given.get("layers") else "") + (f", form {number}" if len(forms) > 1 else "")
        if not isinstance(own, dict) or not isinstance(form, dict):
            raise ConfigError(f"{where}: {place.strip(', ')} must hold keys and values.")
        merged = {**base, **{key: value for key, value in own.items() if key != "forms"}, **form}
        yield _checked(Recipe, _with_layer(merged, layer), where, place.strip(", "))


def _with_layer(given: Any, layer: str) -> Any:
    """Everything with the name of the layer in place of ``{layer}``."""
    if isinstance(given, str):
        return given.replace("{layer}", layer)
    if isinstance(given, dict):
        return {key: _with_layer(value, layer) for key, value in given.items()}
    return list(map(partial(_with_layer, layer=layer), given)) if isinstance(given, list) else given


def _checked(kind: type[_Model], given: dict[str, Any], where: str, place: str) -> _Model:
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        place = f" ({place})" if place else ""
        if first["type"] == "extra_forbidden":
            known = ", ".join(_known_keys(kind, first["loc"]))
            raise ConfigError(f"{where}{place}: unknown key {key!r}; known are {known}.") from None
        if first["type"] == "missing":
            raise ConfigError(f"{where}{place}: key {key!r} is missing.") from None
        got = "" if first["type"] == "value_error" else f" (got {first['input']!r})"
        raise ConfigError(f"{where}{place}: {key}: {first['msg'].removeprefix('Value error, ')}{got}.") from None


def _known_keys(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    parts: dict[str, type[BaseModel]] = {"clear": QualityRule, "store": Storage, "geolocation": Geolocation}
    inner = parts[str(location[0])] if len(location) > 1 and location[0] in parts else kind
    more = [*_Head.model_fields, "layers", "forms"] if inner is Recipe else []
    return [*more, *inner.model_fields]
