import numpy as np
import pytest

from miha.gapfill.base import fill_base
from miha.gapfill.cases import held_out_cases
from miha.gapfill.judging import judge
from miha.gapfill.network_filler import NetworkFiller
from miha.gapfill.presenting import BASE, BASES, NETWORK, present_fills
from miha.records.record import model_path
from tests.support.filling import in_order, publish_maps, small_run


def test_the_base_beside_a_prediction_is_the_base_in_the_gap(simulated, tmp_path):
    run = small_run(tmp_path / "run", {"data": simulated, "trees": 48})
    filler = NetworkFiller(run.model, simulated)
    case = held_out_cases(filler)[0]
    network, base = filler.predict_beside_base(case.scene, case.background)
    assert np.array_equal(network.mean, filler.predict(case.scene, case.background).mean)
    alone = fill_base(case.scene, case.background, filler.static, filler.seed).mean
    np.testing.assert_allclose(base[case.hidden], alone[case.hidden], rtol=1e-6)


def test_a_thorough_presentation_has_the_errors_of_the_evaluation(run, scenes):
    for path in sorted((scenes / "gapped").iterdir())[2:]:
        path.unlink()
    model = model_path(run.run_dir, "final")
    shown = present_fills(model, scenes, in_order, thorough=True)
    judged = judge(scenes, {"miha": model}).metrics
    found = {one.method: one.value for one in shown.estimates}
    assert found[NETWORK] == pytest.approx(judged["mae"]["mean"])
    assert found["300 trees"] == pytest.approx(judged["methods"]["trees"]["mean"])
    assert [one.value for one in shown.estimates] == sorted(found.values())


def test_published_maps_stand_beside_and_a_lone_gap_is_shown_once(run, scenes):
    publish_maps(scenes, "perfect")
    for path in sorted((scenes / "gapped").iterdir())[1:]:
        path.unlink()
    shown = present_fills(model_path(run.run_dir, "final"), scenes, in_order, thorough=False)
    assert shown.estimates[0].method == "perfect (published)"
    assert shown.estimates[0].value == 0
    assert {NETWORK, BASE} <= {one.method for one in shown.estimates}
    assert len(shown.maps) == 1
    assert len(shown.plots) == 4


def test_where_the_base_is_the_best_model_nothing_is_said_of_a_trained_network(run, simulated):
    shown = present_fills(model_path(run.run_dir, "base"), simulated, in_order, thorough=False)
    assert [one.method for one in shown.estimates if one.ours] == [BASES]
    assert "None of its states bettered the base, which was tested on 4 gaps" in shown.what
    assert all(NETWORK not in said for said in (*shown.sentences, *(plot.alt for plot in shown.plots)))
