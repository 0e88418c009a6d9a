"""From a download to a stack: every day of a product on one grid, as cloud optimized GeoTIFFs."""

import logging
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from miha.errors import ConfigError, DataError
from miha.events import Counted, Message, publish
from miha.files import remove_unfinished, replacing_folder
from miha.locking import held
from miha.products.downloads import Observation, find_observations, list_files
from miha.products.grid import GridChoice, StackGrid, on_grid, overlap
from miha.products.hours import Hours
from miha.products.mosaic import Layer, mosaicked, write_day
from miha.products.page import write_page
from miha.products.product import Daily, Product
from miha.products.reading import open_scene
from miha.products.record import DayRecord, GridRecord, LeftOut, StackRecord, write_record
from miha.rasters.window import first_line
from miha.threads import usable_cores
from miha.wording import plural

_log = logging.getLogger(__name__)
CACHE = 256 * 1024 * 1024  # bytes that GDAL may keep of blocks; it would take a twentieth of the memory


@dataclass(frozen=True)
class _Day:
    """What became of the scenes of a day, and the first of its layers."""

    record: DayRecord | None
    first: Layer | None = None
    left_out: tuple[DataError, ...] = field(default=())


class _Unusable(DataError):
    """A scene cannot be used; others of its day may be."""

    def __init__(self, observation: Observation, reason: Exception) -> None:
        self.observation = observation
        unreadable = f"{observation.path} cannot be read: {first_line(reason)}."
        super().__init__(str(reason) if isinstance(reason, DataError) else unreadable)


def prepare(
    places: Sequence[str],
    product: Product,
    out: Path,
    *,
    layer: str | None = None,
    choice: GridChoice = GridChoice(),
    daily: Daily | None = None,
    hours: Hours | None = None,
    strict: bool = False,
    workers: int | None = None,
) -> StackRecord:
    """Write ``history/YYYY-MM-DD.tif`` for each day of a download, ``stack.json`` and ``stack.html``.

    Values are in the product's unit, missing where its masks say so. The download is only read. What a former call
    wrote is replaced; all else in ``out`` (static layers) stays.

    Args:
        places: of the download, as :func:`miha.products.downloads.list_files` takes them.
        product: what is in it.
        out: folder of the data set.
        layer: of the product; none: its first.
        choice: the grid; none: that of the first scene.
        daily: what a pixel takes of several scenes of one day; none: as the product says.
        hours: only scenes of these times of day.
        strict: refuse scenes that cannot be used, instead of leaving them out with a warning.
        workers: threads that prepare days side by side; none: one a core.

    Raises:
        ConfigError: no such layer, or a grid that cannot be.
        DataError: no scene, none that can be used, or one that cannot where ``strict``.
        RunError: another process prepares ``out``.
        StorageError: the disk is full or refuses.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # of containers, whose rasters have a place
        return _prepare(places, product, out, layer, choice, daily, hours, strict, workers or usable_cores())


def _prepare(
    places: Sequence[str],
    product: Product,
    out: Path,
    layer: str | None,
    choice: GridChoice,
    daily: Daily | None,
    hours: Hours | None,
    strict: bool,
    workers: int,
) -> StackRecord:
    chosen, recipes = product.of_layer(layer)
    files = list_files(places)
    _keep_apart(files, out)
    download = find_observations(files, recipes, hours)
    if strict and download.unusable:
        raise download.unusable[0]
    with ExitStack() as stack:
        stack.enter_context(held(out, "choose another --out."))
        remove_unfinished(out)
        folder = stack.enter_context(replacing_folder(out / "history"))
        with rasterio.Env(GDAL_CACHEMAX=CACHE):
            grid = _grid(download.observations, choice)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".work-") as work:
            maker = _Maker(product, chosen, grid, daily or recipes[0].daily, folder, Path(work))
            days = list(maker.make_all(download.observations, strict, workers))
        reasons = [*download.unusable, *(reason for day in days for reason in day.left_out)]
        made = [day.record for day in days if day.record]
        if not made:
            raise reasons[0]
        first = next(day.first for day in days if day.first)
    for reason in reasons:
        _log.warning("left out: %s", reason)
    record = StackRecord(
        product=product.name,
        layer=chosen,
        title=product.title,
        unit=first.unit,
        valid_range=first.valid_range,
        licence=product.licence,
        source=product.source,
        daily=maker.daily,
        hours=str(hours or ""),
        grid=GridRecord(
            crs=grid.crs.to_string() if grid.crs else "",
            transform=tuple(grid.transform)[:6],
            height=grid.height,
            width=grid.width,
        ),
        days=tuple(made),
        left_out=tuple(LeftOut(file=_file_of(reason), reason=str(reason)) for reason in reasons),
        miha=version("miha"),
    )
    write_record(out, record)
    write_page(out, record, download.observations)
    _report(record)
    return record


def _keep_apart(files: Iterable[str], out: Path) -> None:
    """Refuse to replace a folder that holds what is to be read."""
    history = f"{(out / 'history').resolve().as_posix()}/"
    for path in files:
        if not path.startswith("/vsi") and Path(path).resolve().as_posix().startswith(history):
            raise DataError(f"{out} holds {path}, which is to be read. Choose another --out.")


def _file_of(reason: DataError) -> str:
    return reason.observation.path if isinstance(reason, _Unusable) else ""


def _grid(observations: Sequence[Observation], choice: GridChoice) -> StackGrid:
    """The grid that was asked for, or that of the first scene that can be opened."""
    if choice.complete:
        return choice.grid(None)
    failed: DataError | None = None
    for observation in observations:
        try:
            with open_scene(observation) as scene:
                return choice.grid(None if scene.recipe.geolocation else StackGrid.of(scene.raster))
        except ConfigError:
            raise
        except (DataError, RasterioError, OSError) as error:
            failed = failed or _Unusable(observation, error)
    assert failed
    raise failed


@dataclass(frozen=True)
class _Maker:
    """Makes the days of a stack."""

    product: Product
    layer: str
    grid: StackGrid
    daily: Daily
    folder: Path
    work: Path

    def make_all(self, observations: Sequence[Observation], strict: bool, workers: int) -> Iterator[_Day]:
        """One result for each day, in their order."""
        days = [list(group) for _, group in groupby(observations, key=lambda observation: observation.when)]
        with ThreadPoolExecutor(max_workers=workers) as pool:
            try:
                for done, day in enumerate(pool.map(self.make, days), start=1):
                    if strict and day.left_out:
                        raise day.left_out[0]
                    shown = f"{day.record.date}: {day.record.valid:.0%}" if day.record else "left out"
                    publish(Counted("days", done, len(days), shown))
                    yield day
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def make(self, observations: Sequence[Observation]) -> _Day:
        """Write a day from those of its scenes that can be read."""
        left, reasons = list(observations), list[DataError]()
        with rasterio.Env(GDAL_CACHEMAX=CACHE), tempfile.TemporaryDirectory(dir=self.work) as work:
            while left:
                try:
                    record, first = self._write(left, Path(work))
                    return _Day(record, first, tuple(reasons))
                except _Unusable as error:
                    reasons.append(error)
                    left.remove(error.observation)
        return _Day(None, left_out=tuple(reasons))

    def _write(self, observations: Sequence[Observation], work: Path) -> tuple[DayRecord, Layer]:
        when = observations[0].when
        target = self.folder / f"{when}.tif"
        tags = {
            "TIFFTAG_DATETIME": f"{when:%Y:%m:%d} 00:00:00",
            "MIHA_PRODUCT": f"{self.product.name} {self.layer}",
            "MIHA_SOURCES": ", ".join(Path(one.path).name for one in observations),
        }
        with ExitStack() as stack:
            layers = [stack.enter_context(self._layer(one, work, number)) for number, one in enumerate(observations)]
            windows = mosaicked(layers, self.daily, self.grid)
            seen = write_day(windows, self.grid, observations[0].recipe, layers[0], tags, target, work)
        record = DayRecord(
            date=when,
            file=f"history/{target.name}",
            sources=tuple(one.path for one in observations),
            valid=round(seen / (self.grid.height * self.grid.width), 4),
        )
        return record, layers[0]

    @contextmanager
    def _layer(self, observation: Observation, work: Path, number: int) -> Iterator[Layer]:
        """A scene on the grid; whatever is wrong with it raises _Unusable."""
        own = work / str(number)
        own.mkdir(exist_ok=True)
        with ExitStack() as stack:
            with _blamed(observation):
                scene = stack.enter_context(open_scene(observation))
                if not overlap(scene, self.grid):
                    raise DataError(f"{observation.path} lies outside the grid.")
                read = stack.enter_context(on_grid(scene, self.grid, own))

            def reading(window: rasterio.windows.Window):  # type: ignore[no-untyped-def]
                with _blamed(observation):
                    return read(window)

            yield Layer(reading, scene.unit, scene.valid_range)


@contextmanager
def _blamed(observation: Observation) -> Iterator[None]:
    """Turn what goes wrong with the files of a scene into an error that names it."""
    try:
        yield
    except _Unusable:
        raise
    except (DataError, RasterioError) as error:
        raise _Unusable(observation, error) from error


def _report(record: StackRecord) -> None:
    several = sum(len(day.sources) > 1 for day in record.days)
    if several:
        ways = {
            "first": "the first by name counts, the others fill its gaps",
            "mean": "their mean counts",
            "best": "that with most clear pixels counts, the others fill its gaps",
        }
        publish(Message(f"several scenes on {plural(several, 'day')}: {ways[record.daily]} (--daily)"))
