import io

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import ListedColormap, to_hex, to_rgb
from matplotlib.image import imread

from miha.gapfill.pictures import UNKNOWN, picture, shades


def shows(png, colours):
    """True if a picture has these CSS colours (height, width), but for rounding."""
    pixels, expected = imread(io.BytesIO(png))[..., :3], np.array([[to_rgb(one) for one in row] for row in colours])
    return pixels.shape == expected.shape and np.abs(pixels - expected).max() < 1.01 / 255


def test_values_have_the_colours_of_a_legend_and_those_that_are_none_are_grey():
    values = np.float32([[250, 300, 350], [np.nan, 200, 400]])
    first, *_, last = shades("viridis")
    middle = to_hex(colormaps["viridis"](0.5))
    assert shows(picture(values, "viridis", 250, 350), [[first, middle, last], [UNKNOWN, first, last]])


def test_equal_values_can_be_drawn_too():
    assert shows(picture(np.full((1, 2), 5, np.float32), "cividis", 5, 5), [[shades("cividis")[0]] * 2])


def test_each_number_of_a_list_has_its_colour():
    colours = ["#b8c4d0", "#00224e", "#e7b416"]
    assert shows(picture(np.float32([[0, 1, 2]]), ListedColormap(colours), -0.5, 2.5), [colours])
