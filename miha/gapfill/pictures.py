"""Maps as pictures: colours that need no colour vision, and grey where there is no value."""

import io

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap, to_hex
from matplotlib.image import imsave

from miha.rasters.stack import Image

VALUE, ERROR, DEVIATION = "viridis", "PuOr_r", "cividis"
UNKNOWN = "#e2e6ea"  # where there is no value


def picture(values: Image, colours: str | Colormap, low: float, high: float, compression: int = 6) -> bytes:
    """A PNG of values (height, width), a pixel for each, from the first colour at ``low`` to the last at ``high``.

    ``compression`` is that of zlib: 1 is quick, and what 9 writes is small.
    """
    table = colormaps.get_cmap(colours).with_extremes(bad=UNKNOWN)
    pixels = table((values - low) / ((high - low) or 1.0), bytes=True)
    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png", pil_kwargs={"compress_level": compression})
    return buffer.getvalue()


def shades(colours: str | Colormap) -> list[str]:
    """CSS colours of a legend, from low to high."""
    return [to_hex(colormaps.get_cmap(colours)(place)) for place in np.linspace(0, 1, 9)]
