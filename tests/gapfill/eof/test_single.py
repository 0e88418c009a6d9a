from dataclasses import replace

import numpy as np

from miha.gapfill.cases import pasted_case
from miha.gapfill.eof.single import fill_by_patterns
from miha.gapfill.problem import GapFill


def test_a_day_that_shows_nothing_in_a_window_is_as_if_it_were_not_there(simulated):
    history = GapFill(data=simulated).history()
    case = pasted_case(history, 4, 1)
    where, blank = (slice(8, 24), slice(0, 16)), 7
    values = history.values.copy()
    values[blank, *where] = np.nan
    filled = [
        fill_by_patterns(days, case.day, case.scene[where], where)
        for days in (replace(history, values=values), history.without(history.dates[blank]))
    ]
    assert np.array_equal(filled[0].mean, filled[1].mean)
    assert np.array_equal(filled[0].std, filled[1].std)


def test_a_window_that_no_other_day_shows_is_filled_from_itself(simulated):
    history = GapFill(data=simulated).history()
    case, where = pasted_case(history, 4, 1), (slice(8, 24), slice(0, 16))
    nothing = np.full_like(history.values, np.nan)
    filled = fill_by_patterns(replace(history, values=nothing), case.day, case.scene[where], where)
    assert np.isfinite(filled.mean).all()
