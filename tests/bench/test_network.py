from itertools import combinations

from bench.network import (
    AVERAGED,
    BASE,
    ELSEWHERE,
    FOLDS,
    FOREIGN,
    MIHA,
    ONE,
    ROWS,
    UNCHANGED,
    fold_days,
    fold_set,
    measure,
    tables,
    trained_elsewhere,
)
from bench.results import Results

TINY = {
    "problem": {"train_samples": 8, "valid_samples": 4, "patch": 16, "window": 16},
    "schedule": {
        "initial_epochs": 1,
        "cycles": 1,
        "population_size": 2,
        "candidate_epochs": 1,
        "fixing_epochs": 1,
        "final_epochs": 1,
    },
}


def test_each_clear_day_is_held_back_in_one_fold(simulated, tmp_path):
    dealt = [fold_days(simulated, fold) for fold in range(FOLDS)]
    assert len({day for days in dealt for day in days}) == sum(map(len, dealt))
    kept = fold_set(simulated, 1, tmp_path / "fold")
    left = {path.stem for path in (kept / "history").iterdir()}
    everything = {path.stem for path in (simulated / "history").iterdir()}
    assert everything - left == {day.replace("-", "") for day in dealt[1]}


def test_networks_are_judged_on_days_that_they_never_saw(simulated, tmp_path, monkeypatch):
    monkeypatch.setattr("miha.gapfill.problem.trusted_share", lambda *_: 1.0)  # so that each fills with its own
    held = fold_days(simulated, 0)
    other = tmp_path / "other"
    other.symlink_to(simulated, target_is_directory=True)
    elsewhere = trained_elsewhere(simulated, [other], tmp_path / "runs", TINY)
    result = measure(simulated, 0, 1, tmp_path / "runs", TINY, elsewhere)
    assert [gap["day"] for gap in result["gaps"]] == held
    assert all(gap["errors"].keys() == set(ROWS) for gap in result["gaps"])
    alike = [gap["errors"][MIHA] == gap["errors"][AVERAGED] for gap in result["gaps"]]
    assert all(alike) if result["best"] == "base" else not any(alike)
    for one, another in combinations((BASE, AVERAGED, ONE, UNCHANGED, FOREIGN, ELSEWHERE), 2):
        assert all(gap["errors"][one] != gap["errors"][another] for gap in result["gaps"])
    learned = {path.stem for path in (tmp_path / "runs" / "simulated-0" / "data" / "history").iterdir()}
    assert not learned & {day.replace("-", "") for day in held}
    kept = Results("network", {}, fresh=True, folder=tmp_path, document=None)
    kept.results["simulated"] = {"0": result}
    assert f"| {BASE} | " in tables(kept)
