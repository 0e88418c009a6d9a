import re
import textwrap
from pathlib import Path

import numpy as np
import pytest

from miha.errors import ConfigError
from miha.products.prepare import prepare
from miha.products.product import (
    Geolocation,
    QualityRule,
    Recipe,
    Storage,
    parse_product,
    read_daily,
    read_product,
    shipped,
)
from miha.rasters.scene import read_scene
from tests.support.downloads import raster

MINE = """
name: mine
title: My own
files: "LST_{date:%Y%m%d}.tif"
unit: K
scale: 0.1
"""


def test_every_product_of_the_package_can_be_read_and_says_where_its_numbers_are_documented():
    names = shipped()
    assert {"mod11a1", "vnp21", "mod13q1", "landsat-c2-l2", "sentinel2-l2a", "ghrsst", "generic"} <= set(names)
    for name in names:
        product = read_product(name)
        assert product.name == name
        assert product.title
        assert product.about
        assert product.source or name == "generic"


def test_a_product_of_ones_own_needs_a_name_a_title_and_files(tmp_path):
    (tmp_path / "mine.yaml").write_text(MINE)
    product = read_product(str(tmp_path / "mine.yaml"))
    _, (recipe,) = product.of_layer(None)
    assert (recipe.files, recipe.unit, recipe.scale, recipe.clear) == (("LST_{date:%Y%m%d}.tif",), "K", 0.1, ())


def test_layers_and_forms_of_download_override_what_the_product_says():
    text = MINE + "layers:\n  a:\n  b: {unit: m, forms: [{scale: 1}, {files: '{layer}.nc', subdataset: '{layer}'}]}\n"
    product = parse_product(text, "mine.yaml")
    assert product.of_layer(None)[0] == "a"
    first, second = product.of_layer("b")[1]
    assert (first.unit, first.scale, first.files) == ("m", 1, ("LST_{date:%Y%m%d}.tif",))
    assert (second.scale, second.files, second.subdataset) == (0.1, ("b.nc",), "b")
    with pytest.raises(ConfigError, match="--layer c: mine has a, b"):
        product.of_layer("c")


def test_one_bit_and_one_value_need_no_list():
    one, lists = (
        parse_product(f"{MINE}clear: {rule}\n", "mine.yaml")
        for rule in ("{bits: 2, values: 0}", "{bits: [2], values: [0]}")
    )
    assert one.of_layer(None) == lists.of_layer(None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (MINE + "scal: 1\n", r"mine\.yaml: unknown key 'scal'; known are name, title, .*scale"),
        (MINE + "clear: {bit: [0], values: [0]}\n", r"mine\.yaml: unknown key 'clear\.0\.bit'; known are bits, values"),
        (MINE + "clear: {bits: [70], values: [0]}\n", "a bit lies in 0 to 62, but one is 70"),
        (MINE + "layers: {a: {unti: K}}\n", r"mine\.yaml \(layer a\): unknown key 'unti'"),
        (MINE + "layers: [a]\n", "layers must hold names of layers"),
        (MINE + "valid_range: 5\n", "mine.yaml: valid_range: "),
        (MINE + "resampling: spline\n", "mine.yaml: resampling: Input should be 'nearest'"),
        (MINE + "scale: ten\n", r"scale: .* \(got 'ten'\)"),
        (MINE + "store: {dtype: int16}\n", "integers need a nodata number"),
        (MINE.replace("title: My own", ""), r"mine\.yaml: key 'title' is missing"),
        ("name: x\ntitle: y\n", r"mine\.yaml: key 'files' is missing"),
        ("files: [", r"mine\.yaml is no YAML: "),
        ("- a", r"mine\.yaml must hold keys and values"),
    ],
)
def test_a_mistake_in_a_product_file_is_reported_with_file_and_key(text, reason):
    with pytest.raises(ConfigError, match=reason):
        parse_product(text, "mine.yaml")


def test_an_unknown_product_is_reported_with_those_that_are_known(tmp_path):
    with pytest.raises(
        ConfigError, match=r"--product modis is unknown; known are generic, ghrsst, .*give a \.yaml file"
    ):
        read_product("modis")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml cannot be read \(No such file"):
        read_product(str(tmp_path / "nowhere.yaml"))
    with pytest.raises(ConfigError, match="--daily last: choose one of first, mean, best"):
        read_daily("last")


@pytest.mark.parametrize("part", [Recipe, QualityRule, Storage, Geolocation])
def test_the_page_on_own_products_explains_every_key_as_the_code_does(part):
    page = (Path(__file__).parents[2] / "docs" / "own-product.md").read_text(encoding="utf-8")
    for name, field in part.model_fields.items():
        assert re.search(rf"^\| `{name}` \| .* \| {re.escape(field.description)} \|$", page, re.MULTILINE), name


def test_the_example_of_that_page_makes_the_stack_that_it_promises(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "own-product.md").read_text(encoding="utf-8")
    example = textwrap.dedent(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    temperature = np.full((8, 8), 1850, np.int16)
    quality = np.zeros((8, 8), np.uint8)
    quality[0, 0], quality[0, 7], quality[7, 7], temperature[7, 0] = 1, 0b1000, 0b0100, -32000
    raster(tmp_path / "sst" / "T_20210501_v2.tif", temperature)
    raster(tmp_path / "sst" / "Q_20210501_v2.tif", quality)
    prepare([str(tmp_path / "sst")], parse_product(example, "sst.yaml"), tmp_path / "data")
    scene = read_scene(tmp_path / "data" / "history" / "2021-05-01.tif")
    gaps = np.zeros((8, 8), bool)
    gaps[:2, :2] = gaps[:2, 6:] = gaps[6:, :2] = True
    assert np.array_equal(scene.gaps, gaps)
    assert scene.unit == "degC"
    assert scene.values[4, 4] == pytest.approx(18.5)


def test_the_example_of_several_layers_and_forms_can_be_read():
    page = (Path(__file__).parents[2] / "docs" / "own-product.md").read_text(encoding="utf-8")
    example = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)[1]
    product = parse_product(f"name: lake\ntitle: A lake\n{example}", "lake.yaml")
    assert [(layer, len(forms)) for layer, forms in product.recipes.items()] == [("day", 2), ("night", 2)]
