import json

import numpy as np

from bench.companion import DEALT, ROWS, WITH, WITHOUT, _dealt, main
from bench.pasted import filler_of
from miha.rasters.simulate import simulate


def test_companions_are_worth_what_they_lower_the_error_by(tmp_path):
    simulate(tmp_path / "data", days=12, height=32, width=32, seed=3, nights=True)
    document = tmp_path / "results.md"
    main([tmp_path / "data"], gaps=2, processes=1, results=tmp_path, document=document)
    (gaps,) = json.loads((tmp_path / "companion.json").read_text())["results"].values()
    for one in gaps.values():
        assert one["errors"][WITH] < one["errors"][WITHOUT]
        assert one["errors"][DEALT] != one["errors"][WITH]
    nights = filler_of(tmp_path / "data").history.companions[0]
    assert not any(
        np.array_equal(*days, equal_nan=True) for days in zip(nights.values, _dealt(nights).values, strict=True)
    )
    assert all(f"| {row} |" in document.read_text() for row in ROWS)
