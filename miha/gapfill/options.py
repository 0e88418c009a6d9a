"""Which gaps of a scene are filled, and what is written beside it: settings of commands, flows and the library."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from miha.rasters.area import open_area
from miha.rasters.dates import read_date
from miha.rasters.options import ReadOptions
from miha.rasters.window import read_grid


class FillOptions(BaseModel):
    """Which gaps are filled, and what is written beside a scene."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    everywhere: bool = Field(False, description="also pixels that no day shows (sea, or outside the cut-out)")
    max_std: float | None = Field(
        None, description="standard deviation above which a pixel stays empty, in the data's unit"
    )
    area: Path | None = Field(
        None, description="raster (not 0 inside) or GeoJSON of polygons: pixels outside of it stay as they are"
    )
    stac: bool = Field(False, description="a STAC item beside each scene, and a collection of a series")

    def check(self, sources: Sequence[Path], reading: ReadOptions) -> None:
        """Find out before scenes are filled what could not be done afterwards.

        Raises:
            DataError: a scene that cannot be used in this way.
            ModuleNotFoundError: an extra is not installed.
        """
        if self.area:
            for source in sources:
                open_area(self.area, read_grid(source))
        if self.stac:
            import_module("miha.rasters.stac")
            for source in sources:
                read_date(source, reading.date_pattern)
