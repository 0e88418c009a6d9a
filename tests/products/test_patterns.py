from datetime import date, datetime

import pytest

from miha.products.patterns import Pattern


@pytest.mark.parametrize(
    ("pattern", "path", "when"),
    [
        ("LST_{date:%Y%m%d}.tif", "a/b/LST_20200703.tif", date(2020, 7, 3)),
        ("*doy{date:%Y%j}*.tif", "MOD11A1.061_LST_Day_1km_doy2020185000000_aid0001.tif", date(2020, 7, 3)),
        ("{date:%Y}/{date:%j}/lst.tif", "raw/2020/185/lst.tif", date(2020, 7, 3)),
        ("{date:%Y}/{date:%j}/MOD.A{date:%Y%j}.tif", "raw/2020/185/MOD.A2020185.tif", date(2020, 7, 3)),
        ("{date:%y-%m-%d}.TIF", "20-07-03.tif", date(2020, 7, 3)),
        ("a/**/x_{date:%Y%m%d}T*.nc", "a/b/c/x_20200703T101010.nc", date(2020, 7, 3)),
        ("x_{date:%Y%m%dT%H%M}*.nc", "x_20200703T101510.nc", datetime(2020, 7, 3, 10, 15)),
        ("N0[4-9]??_{date:%Y%m%d}.jp2", "N0511_20200703.jp2", date(2020, 7, 3)),
    ],
)
def test_the_day_is_read_from_the_end_of_a_path_in_any_case_of_letters(pattern, path, when):
    assert Pattern(pattern).match(path) == ({}, when)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("LST_{date:%Y%m%d}.tif", "LST_20201503.tif"),  # no such month
        ("LST_{date:%Y%m%d}.tif", "LST_20200703.tif.aux.xml"),
        ("{date:%Y}/MOD.A{date:%Y%j}.tif", "2019/MOD.A2020185.tif"),  # two years
        ("LST_*.tif", "LST_a/b.tif"),
        ("N0[4-9]??_*.jp2", "N0301_20200703.jp2"),
        ("N[!0]*.jp2", "N0301.jp2"),
        ("{a}_{a}.tif", "x_y.tif"),
        ("a.tif", "aa.tif"),
    ],
)
def test_what_does_not_fit_is_no_scene(pattern, path):
    assert Pattern(pattern).match(path) is None


def test_fields_and_day_of_a_scene_find_the_file_beside_it():
    fields, when = Pattern("{product}_LST_doy{date:%Y%j}_aid{area}.tif").match("MOD_LST_doy2020185_aid0007.tif")
    assert fields == {"product": "MOD", "area": "0007"}
    beside = Pattern("{product}_QC_{date:%Y-%m-%d}_{area}_*.tif", fields, when)
    assert beside.match("q/MOD_QC_2020-07-03_0007_v1.tif")
    assert not beside.match("q/MOD_QC_2020-07-03_0008_v1.tif")
    assert not beside.match("q/MOD_QC_2020-07-04_0007_v1.tif")


@pytest.mark.parametrize(
    ("pattern", "mistake"),
    [
        ("a_{date:%B}.tif", "%B in 'a_{date:%B}.tif' cannot be read"),
        ("a_{date}.tif", "{date} in .* needs a form"),
        ("a_{tile:%Y}.tif", "has a form, which only date may have"),
        ("a_[z-a].tif", r"'a_\[z-a\].tif' cannot be read: bad character range z-a"),
        ("a_{2}.tif", "cannot be read: bad character in group name '2'"),
    ],
)
def test_a_pattern_that_cannot_be_is_refused(pattern, mistake):
    with pytest.raises(ValueError, match=mistake):
        Pattern(pattern)
