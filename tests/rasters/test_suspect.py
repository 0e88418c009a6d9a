"""What cannot be an observation is noticed, and what is merely unusual passes."""

import numpy as np
import pytest

from miha.errors import DataError
from miha.rasters.stack import ReadOptions, read_scene, read_stack
from miha.rasters.suspect import Level, common_level, undeclared_codes
from tests.support.rasters import write

SHAPE = (30, 30)


def field(middle, spread, seed=0):
    """Values in a range of about three spreads on both sides, smooth enough to be a map."""
    return np.random.default_rng(seed).normal(middle, spread, SHAPE).astype(np.float32)


def coded(values, *codes, rows=3):
    """The first rows hold codes, three rows each."""
    for number, code in enumerate(codes):
        values[rows * number : rows * (number + 1)] = code
    return values


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        (coded(field(290, 5), -9999), {-9999: 90}),
        (coded(field(290, 5), 0), {0: 90}),
        (coded(field(290, 5), -9999, -8888), {-9999: 90, -8888: 90}),
        (coded(field(290, 5), -9999, 9999), {-9999: 90, 9999: 90}),
        (coded(field(290, 5), -9999, rows=28), {-9999: 840}),  # little else is seen
        (coded(field(0.4, 0.1), -3.4028235e38), {float(np.float32(-3.4028235e38)): 90}),
        (coded(np.rint(field(14500, 200)), 65535), {65535: 90}),
        (coded(field(15, 5), -32768), {-32768: 90}),
        (np.where(field(0, 1) > 1.2, np.float32(np.nan), coded(field(290, 5), -9999, rows=1)), {-9999: None}),
    ],
)
def test_a_number_far_from_all_others_in_many_pixels_is_a_code(values, codes):
    found = undeclared_codes(values)
    assert found.keys() == codes.keys()
    assert all(codes[code] in (None, found[code]) for code in found)


@pytest.mark.parametrize(
    "values",
    [
        field(290, 5),
        coded(field(290, 5), 265),  # a frozen lake of one temperature
        coded(field(3, 4), 0),  # melting snow
        np.maximum(field(-5, 5), 0),  # rain: mostly none
        coded(field(0.5, 0.1), 1.0),  # saturated
        coded(field(0.1, 0.02), 0.0),  # water in a vegetation index
        np.where(field(0, 1) > 2.5, 600, field(290, 5)).astype(np.float32) + field(0, 20),  # fires
        coded(field(290, 5), -9999, rows=0),
        coded(np.rint(field(3, 0.5)), 200),  # classes
        np.full(SHAPE, 7, np.float32),
        np.full(SHAPE, np.nan, np.float32),
        np.where(np.arange(900).reshape(SHAPE) < 15, np.float32(-9999), field(290, 5)),  # too few to tell
    ],
)
def test_what_may_have_been_observed_is_no_code(values):
    assert undeclared_codes(values) == {}


def test_a_number_that_no_quantity_reaches_is_a_code_in_any_pixel():
    values = field(290, 5)
    values[3, 4] = 1e38
    assert undeclared_codes(values) == {float(np.float32(1e38)): 1}


def test_an_undeclared_code_is_refused_with_its_share_and_the_settings(tmp_path):
    path = write(tmp_path / "20200101.tif", coded(field(290, 5), -9999))
    with pytest.raises(
        DataError, match=r"20200101\.tif holds -9999 in 10\.0% of its pixels, .* problem\.nodata \(--nodata -9999\)"
    ):
        read_stack(tmp_path)
    assert len(read_stack(tmp_path, ReadOptions(nodata=[-9999]))) == 1
    assert len(read_stack(tmp_path, ReadOptions(keep=[-9999]))) == 1
    assert read_stack(tmp_path, ReadOptions(observed=[-9999])).values.min() == -9999
    read_scene(path)  # what is no day to fill or to learn from may hold anything


def test_a_code_is_reported_as_the_file_stores_it(tmp_path):
    write(tmp_path / "20200101.tif", coded(np.rint(field(14500, 200)), 65535).astype(np.uint16), scale=0.02, offset=5)
    with pytest.raises(DataError, match=r"holds 65535 in 10\.0% .*--nodata 65535\)"):
        read_stack(tmp_path)
    assert len(read_stack(tmp_path, ReadOptions(observed=65535))) == 1


def stack_of(folder, days, options=ReadOptions()):
    """The days of a history that are used, by number; each is values, or values and a scale."""
    for number, day in enumerate(days, start=1):
        values, scale = day if isinstance(day, tuple) else (day, 1.0)
        write(folder / f"202001{number:02d}.tif", values, scale=scale)
    return [when.day for when in read_stack(folder, options).dates]


def kelvin(day):
    return field(290 + 3 * np.sin(day), 4, day)


def stored(day):
    return np.rint(kelvin(day) / 0.02).astype(np.uint16)


FAR = {
    "one of five lost its scale": ([(stored(day), 1.0 if day == 2 else 0.02) for day in range(5)], [1, 2, 4, 5]),
    "half lost their scale": ([(stored(day), 0.02 if day % 2 else 1.0) for day in range(6)], [2, 4, 6]),
    "one of two lost its scale": ([(stored(0), 1.0), (stored(1), 0.02)], [2]),
    "celsius among kelvin": ([*map(kelvin, range(5)), kelvin(5) - 273.15], [1, 2, 3, 4, 5]),
    "kelvin among celsius": ([kelvin(0), *(kelvin(day) - 273.15 for day in range(1, 5))], [2, 3, 4, 5]),
    "an index times 10000": ([field(0.3, 0.2, 0) * 10000, *(field(0.3, 0.2, day) for day in range(1, 4))], [2, 3, 4]),
    "nothing but a code": ([np.full(SHAPE, -9999, np.float32), *map(kelvin, range(1, 5))], [2, 3, 4, 5]),
}


@pytest.mark.parametrize(("days", "used"), FAR.values(), ids=FAR)
def test_a_day_in_another_unit_is_left_out_with_a_warning_or_refused(tmp_path, caplog, days, used):
    assert stack_of(tmp_path, days) == used
    assert caplog.text.count("a day is left out") == len(days) - len(used)
    left = next(number for number in range(1, len(days) + 1) if number not in used)
    assert f"202001{left:02d}.tif has values around" in caplog.text
    with pytest.raises(DataError, match=rf"202001{left:02d}\.tif has values around .* so its unit is another"):
        stack_of(tmp_path, days, ReadOptions(strict=True))


USUAL = {
    "a year of temperatures": [field(285 + 25 * np.sin(number / 3), 5, number) for number in range(20)],
    "frost among mild days": [*(kelvin(day) for day in range(4)), field(250, 2)],
    "frost in celsius": [*(kelvin(day) - 273.15 for day in range(4)), field(-30, 2)],
    "night among days of kelvin": [*map(kelvin, range(4)), field(268, 1)],
    "night among days of an optical band": [*(field(1000, 300, day) for day in range(4)), field(5, 1)],
    "snow among days of reflectance": [*(np.abs(field(0.12, 0.05, day)) for day in range(4)), field(0.85, 0.05)],
    "two seasons of a lake in celsius": [*(field(2 + day / 2, 0.5, day) for day in range(3)), *(field(20 + day, 0.6) for day in range(4))],
    "days that show next to nothing": [np.where(np.arange(900).reshape(SHAPE) < 5, np.float32(9999), np.nan), kelvin(1)],
    "days of one value each": [np.full(SHAPE, value, np.float32) for value in (3, 1, 900)],
}  # fmt: skip


@pytest.mark.parametrize("days", USUAL.values(), ids=USUAL)
def test_frost_snow_and_night_are_used(tmp_path, caplog, days):
    assert len(stack_of(tmp_path, days, ReadOptions(strict=True))) == len(days)
    assert caplog.text == ""


def test_halves_in_two_units_without_tags_are_refused(tmp_path):
    days = [kelvin(day) - (273.15 if day % 2 else 0) for day in range(4)]
    with pytest.raises(DataError, match=r"half of the days have values around .*their units differ"):
        stack_of(tmp_path, days)


def test_the_level_of_days_is_that_of_the_largest_group():
    days = [Level(290 + number, 5) for number in range(4)] + [Level(14500, 250, 1)] * 2
    assert common_level(days).middle == 291.5
    assert Level.of(np.full((5, 6), 1, np.float32)) is None


def test_a_day_that_cannot_be_read_is_left_out_with_a_warning_or_refused(tmp_path, caplog):
    (tmp_path / "20191231.tif").write_text("no raster")
    assert stack_of(tmp_path, map(kelvin, range(3))) == [1, 2, 3]
    assert "a day is left out" in caplog.text
    assert "20191231.tif cannot be read as a raster" in caplog.text
    with pytest.raises(DataError, match=r"20191231\.tif cannot be read as a raster"):
        read_stack(tmp_path, ReadOptions(strict=True))
    for number in range(1, 4):
        (tmp_path / f"2020010{number}.tif").unlink()
    with pytest.raises(DataError, match=r"20191231\.tif cannot be read as a raster"):
        read_stack(tmp_path)
