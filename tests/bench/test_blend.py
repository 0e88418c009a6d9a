import json

import pytest

from bench.blend import BASE, GUESS, PROCESS_ALONE, ROWS, main


def test_the_base_lies_between_the_process_and_the_first_guess_by_its_calibration(simulated, tmp_path):
    document = tmp_path / "results.md"
    main([simulated], gaps=2, processes=1, results=tmp_path, document=document)
    (gaps,) = json.loads((tmp_path / "blend.json").read_text())["results"].values()
    for one in gaps.values():
        errors = one["errors"]
        assert errors[GUESS] != errors[PROCESS_ALONE]
        if one["calibration"] <= 1:
            assert errors[BASE] == pytest.approx(errors[PROCESS_ALONE])
        else:
            assert errors[BASE] <= max(errors[GUESS], errors[PROCESS_ALONE])
    assert all(f"| {row} |" in document.read_text() for row in ROWS)
