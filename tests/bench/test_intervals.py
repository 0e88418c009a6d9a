import json

from bench.intervals import ALIKE, CALIBRATED, KERNELS, ROWS, main


def test_a_wider_interval_holds_more_of_the_truth(simulated, tmp_path):
    document = tmp_path / "results.md"
    main([simulated], gaps=2, processes=1, results=tmp_path, document=document)
    (gaps,) = json.loads((tmp_path / "intervals.json").read_text())["results"].values()
    for one in gaps.values():
        held = one["sureness"]
        assert held[KERNELS]["80"] <= held[ALIKE]["80"]
        assert held[CALIBRATED]["50"] < held[CALIBRATED]["95"]
    assert all(f"| {row} |" in document.read_text() for row in ROWS)
