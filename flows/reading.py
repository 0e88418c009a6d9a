"""How rasters are read, as options of the command line."""

from collections.abc import Callable
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from miha.errors import ConfigError

if TYPE_CHECKING:
    from miha.rasters.options import ReadOptions

BandOption = Annotated[int, typer.Option(min=1, help="band of each raster")]
NodataOption = Annotated[
    list[float], typer.Option(help="stored value of missing pixels, besides the file's nodata tag and NaN; repeatable")
]
KeepOption = Annotated[
    list[float], typer.Option(help="stored value of pixels that are not to be filled, e.g. sea; repeatable")
]
ClearOption = Annotated[
    str | None,
    typer.Option(
        metavar="YAML", help="which pixels a quality layer calls clear, e.g. '{band: 2, bits: [0, 1], values: [0]}'"
    ),
]
GrowOption = Annotated[
    int, typer.Option(min=0, help="pixels by which gaps grow in all directions, over rims of clouds")
]
ObservedOption = Annotated[
    list[float], typer.Option(help="stored value that looks like a code but is an observation; repeatable")
]
RangeOption = Annotated[
    tuple[float, float] | None,
    typer.Option(
        metavar="LOW HIGH",
        help="least and greatest value that a filled pixel may take, in the data's unit; default: the product's, where "
        "`miha prepare` made the data",
    ),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="refuse unusable days, instead of leaving them out with a warning")
]
PatternOption = Annotated[
    str | None, typer.Option(help="strptime pattern of file names, e.g. MOD11A1.A%Y%j; most names need none")
]


def reading_of(
    model: Path | None,
    *,
    band: BandOption = 1,
    nodata: NodataOption = [],  # noqa: B006
    keep: KeepOption = [],  # noqa: B006
    clear: ClearOption = None,
    grow: GrowOption = 0,
    observed: ObservedOption = [],  # noqa: B006
    valid_range: RangeOption = None,
    strict: StrictOption = False,
    date_pattern: PatternOption = None,
) -> "ReadOptions":
    """How rasters are read, as given; nothing may be given beside a model, which has its own settings.

    Raises:
        ConfigError: a value that cannot be, or one beside a model.
    """
    from miha.config_files import read_value
    from miha.rasters.options import ReadOptions, read_options  # --help is quick without

    given: dict[str, Any] = {"band": band, "nodata": nodata, "keep": keep, "grow": grow, "observed": observed}
    given |= {"clear": read_value(clear) if clear else None, "strict": strict, "date_pattern": date_pattern}
    given["valid_range"] = valid_range
    reading = read_options(**given)
    own = [f"--{name.replace('_', '-')}" for name in given if getattr(reading, name) != getattr(ReadOptions(), name)]
    if model and own:
        raise ConfigError(f"{', '.join(own)}: how rasters are read is the model's own. Leave it out.")
    return reading


Reading = Callable[[Path | None], "ReadOptions"]  # called with the model that fills, if one does


def reads_rasters(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of :func:`reading_of` in place of its argument ``reading``, a :data:`Reading`."""
    options = {name: one for name, one in signature(reading_of).parameters.items() if one.kind is one.KEYWORD_ONLY}
    own = signature(command).parameters
    shown = [part for name, one in own.items() for part in (options.values() if name == "reading" else [one])]

    @wraps(command)
    def wrapped(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in options}
        command(**given, reading=partial(reading_of, **chosen))

    keyword_only = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in shown]
    wrapped.__signature__ = Signature(keyword_only)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in shown}
    return wrapped
