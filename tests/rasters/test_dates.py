from datetime import date
from pathlib import Path

import pytest

from miha.errors import ConfigError, DataError
from miha.rasters.dates import read_date
from miha.rasters.options import read_options
from tests.support.rasters import GRID, write

DAY = date(2019, 9, 3)


@pytest.mark.parametrize(
    "name",
    [
        "20190903",
        "LST_20190903_gap05",
        "20190903T000000",
        "tile12345678_20190903",
        "2019-09-03",
        "LST_Day_2019-09-03_gap30",
        "2019_09_03",
        "chirps-v2.0.2019.09.03",
        "LST_2019-09-03T10-30-21Z",
        "A2019246",
        "MOD11A1.A2019246.h17v04.061.2019248081300",
        "MYD21A1D.A2019246.h17v04.061.20190905",
        "MOD11A1.061_LST_Day_1km_doy2019246_aid0001",
        "MOD11A1.061_LST_Day_1km_doy2019246000000_aid0001",
        "A2019246103000.L2_LAC_SST",
        "lst_2019246",
        "h17v04_061_2019246",
        "LC08_L2SP_200032_20190903_20200826_02_T1_ST_B10",
        "S2A_MSIL2A_20190903T103021_N0213_R108_T30TVK_20190903T142200",
        "S3A_SL_2_LST____20190903T103021_20190904T103321_20190905T012345",
        "ECOSTRESS_L2_LSTE_08229_005_20190903T123456_0601_01",
        "g2_BIOPAR_LST_201909031200_GLOBE_GEO_V2.0.1",
        "frame_20190903103021",
        "orbit2031999_20190903",
        "R1234567_2019-09-03",
    ],
)
def test_the_date_is_in_the_name_in_any_usual_form(name):
    assert read_date(Path(f"{name}.tif")) == DAY


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("NDVI_20190903_20190918", DAY),  # the first of a period
        ("20190918_A2019246", DAY),  # what is marked goes before what is not
        ("2018001_20190903", DAY),  # a month goes before a day of the year
        ("A2020366", date(2020, 12, 31)),
        ("2020_02_29", date(2020, 2, 29)),
    ],
)
def test_of_several_dates_the_rule_takes_one(name, when):
    assert read_date(Path(f"{name}.tif")) == when


@pytest.mark.parametrize(
    "name", ["h17v04.061", "A2019400", "2019-13-03", "2019-0903", "20191303", "082000322", "A12345", "99991231", "2019"]
)
def test_numbers_that_are_no_date_are_not_taken_for_one(name, tmp_path):
    with pytest.raises(
        DataError, match=r"the date of .* cannot be read .*YYYYMMDD, YYYY-MM-DD, YYYYDDD.*--date-pattern"
    ):
        read_date(write(tmp_path / f"{name}.tif", GRID))


def test_else_the_date_is_the_tiffs_datetime_tag(tmp_path):
    assert read_date(write(tmp_path / "scene.tif", GRID, tags={"TIFFTAG_DATETIME": "2019:09:03 10:30:00"})) == DAY


def test_a_configured_pattern_reads_other_names(tmp_path):
    assert read_date(Path("03.09.19.tif"), "%d.%m.%y") == DAY
    assert read_date(Path("20180101_030919_gap05.tif"), "20180101_%d%m%y") == DAY
    assert read_date(Path("MyLST_03-09-2019_v2.tif"), "%d-%m-%Y") == DAY
    assert read_date(Path("MyLST_03-09-2019_v2.tif"), "LST_%d-%m-%Y_v") == DAY
    with pytest.raises(
        DataError, match=r"the date of .*scene\.tif cannot be read \(pattern 'x%Y%j', .*problem\.date_p"
    ):
        read_date(write(tmp_path / "scene.tif", GRID), "x%Y%j")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("%Y%Y", "'%Y%Y' has one directive twice"),
        ("%Y%Q", "'%Y%Q' cannot be used: 'Q' is a bad directive"),
        ("lst%", "'lst%' cannot be used: stray %"),
        ("lst%Y", "'lst%Y' does not tell year, month and day"),
        ("nothing", "'nothing' does not tell year, month and day"),
    ],
)
def test_a_pattern_that_reads_no_date_is_reported_in_one_line(pattern, reason):
    with pytest.raises(DataError) as caught:
        read_date(Path("20190903.tif"), pattern)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=rf"--date-pattern: {reason}"):
        read_options(date_pattern=pattern)
