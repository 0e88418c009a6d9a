"""What tests of gap filling share: a problem that trains in a second, and a change of a scene."""

import numpy as np
import rasterio

SMALL = {"train_samples": 6, "valid_samples": 4, "trees": 12, "width": 4, "levels": 2}


def alter(path):
    """Add 40 K to every observed pixel."""

    with rasterio.open(path, "r+") as raster:
        values = raster.read(1)
        raster.write(np.where(values > 0, values + 2000, values).astype(values.dtype), 1)
