import numpy as np
import pytest

from miha.errors import DataError
from miha.gapfill.cases import held_out_cases
from miha.gapfill.maps import example_maps, plot_fill
from miha.gapfill.network_filler import NetworkFiller
from miha.rasters.stack import list_rasters
from tests.support.filling import small_run, without_truth


def test_a_small_a_middle_and_a_large_gap_are_shown_with_their_errors(run, simulated):
    filler = NetworkFiller(run.model, simulated)
    cases = {case.gap: case for case in held_out_cases(filler)}
    figures = example_maps(filler)
    assert list(figures) == ["gap_05", "gap_40", "gap_95"]
    for name, figure in figures.items():
        case = cases[name.removeprefix("gap_")]
        error = case.error(filler.predict(case.scene, case.background).mean)
        assert figure.get_suptitle() == (f"gap of {int(case.gap)} %: mean absolute error {error:.2f} K, simulated")


def test_a_single_gap_is_shown_once(run, scenes):
    for path in list_rasters(scenes / "gapped")[1:]:
        path.unlink()
    assert list(example_maps(NetworkFiller(run.model, scenes))) == ["gap_05"]


def test_a_data_set_without_held_out_gaps_has_no_maps(scenes, tmp_path):
    without_truth(scenes)
    run = small_run(tmp_path / "run", {"data": scenes, "test_fraction": 0})
    with pytest.raises(DataError, match=r"has no truth/, and the run held no test days back"):
        example_maps(NetworkFiller(run.model, scenes))


def test_a_figure_shows_scene_fill_truth_the_error_inside_the_gap_alone_and_its_standard_deviation():
    truth = np.arange(20, dtype=np.float32).reshape(4, 5)
    scene = truth.copy()
    scene[1:3, 1:3] = np.nan
    filled = truth + 2
    std = np.where(np.isnan(scene), 1.5, np.nan)
    panels = plot_fill(scene, filled, truth, std, "K", "title").axes[:5]
    shown = [np.ma.filled(panel.images[0].get_array().astype(float), np.nan) for panel in panels]
    for image, values in zip(shown, (scene, filled, truth), strict=False):
        assert np.array_equal(image, values, equal_nan=True)
    assert np.array_equal(shown[3], np.where(np.isnan(scene), 2.0, np.nan), equal_nan=True)
    assert np.array_equal(shown[4], std, equal_nan=True)
    assert [panel.get_title() for panel in panels] == [
        *("before", "after", "truth", "error in the gap", "standard deviation")
    ]
