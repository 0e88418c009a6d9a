import numpy as np
import pytest

from miha.gapfill.eof import fit
from miha.gapfill.eof.fit import fit_windows


@pytest.mark.parametrize(
    ("shape", "block", "days"),
    [
        ((110, 88), (46, 88), 27),
        ((1200, 1200), (512, 512), 365),
        ((1300, 700), (1, 700), 900),
        ((700, 650), (256, 256), 8),
    ],
)
def test_windows_cover_scenes_once_and_lie_inside_blocks_or_hold_whole_ones(shape, block, days, monkeypatch):
    monkeypatch.setattr(fit, "VALUES", 5_000_000)
    counted = np.zeros(shape, int)
    for rows, columns in fit_windows(shape, block, days):
        counted[rows, columns] += 1
        assert (rows.stop - rows.start) * (columns.stop - columns.start) * days <= max(5_000_000, days * shape[1])
        inside = rows.start // block[0] == (rows.stop - 1) // block[0]
        assert inside or rows.start % block[0] == 0
    assert (counted == 1).all()
