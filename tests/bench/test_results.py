import json
import sys
from dataclasses import asdict
from functools import partial
from statistics import mean

import pytest

from bench import (
    blend,
    companion,
    eof,
    faults,
    gapfill,
    intervals,
    kernel,
    mnist,
    network,
    overhead,
    peers,
    process,
    scale,
    speed,
    swaps,
    tuning,
)
from bench.experience import learned
from bench.gapfill import ablation_table, comparison, winners
from bench.results import DOCUMENT, RESULTS, Results, put_block, spread, table
from bench.tuners import OPTUNA, OPTUNA_ARTICLES, PBT
from miha.errors import MihaError
from miha.evolution.experience import EXPERIENCE
from miha.gapfill.kernel import LEARNED
from tests.support.processes import ROOT, alive, descendants, environment, logged, running, wait_for


@pytest.fixture
def make(tmp_path):
    def make(fresh=False, **settings):
        return Results("trial", settings, fresh, folder=tmp_path, document=tmp_path / "results.md")

    return make


def test_what_was_measured_is_not_measured_again(make):
    calls = []

    def measure():
        calls.append(1)
        return {"accuracy": 0.5}

    for _ in range(2):
        results = make(epochs=3)
        assert results.once("ours", 0, measure)["accuracy"] == 0.5
    assert len(calls) == 1
    make(fresh=True, epochs=3).once("ours", 0, measure)
    assert len(calls) == 2


def test_results_of_other_settings_are_neither_reused_nor_lost(make):
    make(epochs=3).once("ours", 0, lambda: {"accuracy": 0.5})
    with pytest.raises(MihaError, match="--fresh"):
        make(epochs=4)


def test_the_json_says_where_and_with_what(make):
    results = make(epochs=3)
    results.once("ours", 0, lambda: {"accuracy": 0.5})
    content = json.loads(results.file.read_text())
    assert content["settings"] == {"epochs": 3}
    assert content["results"]["ours"]["0"]["accuracy"] == 0.5
    assert {"cpu", "cores", "libraries", "git_revision", "date", "command"} <= set(content["machine"])


def test_values_come_in_the_order_of_the_seeds(make):
    results = make()
    for seed in (10, 9, 0):
        results.once("ours", seed, lambda seed=seed: {"loss": float(seed)})
    assert results.values("ours", "loss") == [0.0, 9.0, 10.0]


def test_a_block_is_replaced_where_it_stands_and_all_else_stays(tmp_path):
    document = tmp_path / "results.md"
    document.write_text("# Results\n\nBefore.\n\n<!-- bench.a -->\nold\n<!-- /bench.a -->\n\nAfter.\n")
    put_block(document, "bench.a", r"new \1")
    put_block(document, "bench.b", "another")
    assert document.read_text() == (
        "# Results\n\nBefore.\n\n<!-- bench.a -->\nnew \\1\n<!-- /bench.a -->\n\nAfter.\n\n"
        "<!-- bench.b -->\nanother\n<!-- /bench.b -->\n"
    )


def test_a_spread_is_mean_and_standard_deviation():
    assert spread([1.0, 2.0, 3.0], ".1f") == "2.0 ± 1.0"
    assert spread([1.0], ".1f") == "1.0"
    assert table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"


def test_processes_of_a_bench_that_is_killed_end_with_it(tmp_path):
    script, log = tmp_path / "busy.py", tmp_path / "log"
    script.write_text(
        "import time\nfrom bench.results import process_pool\n"
        "if __name__ == '__main__':\n"
        "    with process_pool(1) as pool:\n"
        "        pool.submit(print, 'working', flush=True).result()\n"
        "        pool.submit(time.sleep, 600).result()\n"
    )
    env = environment(tmp_path, PYTHONPATH=str(ROOT))
    with running([sys.executable, str(script)], log, env) as process:
        wait_for(logged(log, "working"), 60, log)
        children = descendants(process.pid)
        assert alive(children)
        process.kill()
        wait_for(lambda: not alive(children), 10, log)


def test_the_footer_says_from_when_to_when_was_measured(make, monkeypatch):
    for day, seed in (("2026-01-02", 0), ("2026-01-05", 1), ("2026-01-09", 1)):
        monkeypatch.setattr("bench.results.today", lambda day=day: day)
        results = make()
        results.once("ours", seed, lambda: {"loss": 1.0})
        results.publish("text")
    assert "2026-01-02 to 2026-01-05, PyTorch" in results.document.read_text()


def test_stored_figures_of_scenes_are_of_the_settings_of_the_bench():
    stored = json.loads((RESULTS / "gapfill.json").read_text())["settings"]
    now = {name: setting._asdict() for name, setting in gapfill.SETTINGS.items()}
    assert {name: stored[name] for name in now} == json.loads(json.dumps(now))


def stored(name):
    """The results that are kept of a bench."""
    settings = json.loads((RESULTS / f"{name}.json").read_text())["settings"]
    return Results(name, settings, fresh=False)


TABLES = {
    "mnist": [mnist.rows_of],
    "gapfill": [
        *(partial(tell, network=network) for network in ("autoencoder", "unet") for tell in (comparison, winners)),
        ablation_table,
    ],
    "kernel": [kernel.rows_of],
    "peers": [peers.tables],
    "process": [process.tables],
    "companion": [companion.tables],
    "blend": [blend.tables],
    "intervals": [intervals.tables],
    "network": [network.tables],
    "eof": [eof.tables],
    "scale": [scale.tables],
    "speed": [speed.rows_of],
    "overhead": [overhead.work_table, overhead.start_table],
    "faults": [faults.kills_table],
    "tuning": [tuning.tables],
    "swaps": [swaps.swap_table],
}


@pytest.mark.parametrize(("name", "number"), [(name, number) for name in TABLES for number in range(len(TABLES[name]))])
def test_the_documentation_shows_the_stored_figures(name, number):
    table = TABLES[name][number](stored(name))
    lines = table.splitlines() if isinstance(table, str) else [line_of(row) for row in table]
    page = DOCUMENT.read_text()
    begin, end = page.index(f"<!-- bench.{name} -->"), page.index(f"<!-- /bench.{name} -->")
    shown = page[begin:end].splitlines()
    assert [line for line in lines if line not in shown] == []


def test_every_bench_with_stored_figures_is_checked():
    assert {file.stem for file in RESULTS.glob("*.json")} == TABLES.keys()


def test_the_kernel_that_fills_is_the_one_that_the_bench_learned():
    taught = [by_seed["0"]["kernel"] for by_seed in stored("kernel").results.values() if "kernel" in by_seed["0"]]
    assert asdict(LEARNED) == pytest.approx(asdict(kernel.together(taught)), rel=1e-3)


def test_what_is_known_of_directions_is_what_the_bench_found():
    assert learned(tuning.sources(stored("tuning"))) == EXPERIENCE
    assert EXPERIENCE.wins["lr/up"] > EXPERIENCE.wins["lr/down"]


README = ROOT / "README.md"
METHODS = ("CRAN_gapfill", "SSGP-toolbox", "gapfilling_rasters", "mean_plus_offset", "ridge", "trees", "base")


def evaluated(city):
    """Mean absolute errors of the run that is kept of a city: by method, MIHA last, of each gap and their mean."""
    content = json.loads((ROOT / "evaluations" / f"{city}.json").read_text())
    columns = [*(content["methods"][method] for method in METHODS), content["mae"]]
    return [{**column["gaps"], "mean": column["mean"]} for column in columns]


def line_of(cells):
    return f"| {' | '.join(cells)} |"


def with_the_best_in_bold(figures, form, best):
    return [f"**{figure:{form}}**" if figure == best(figures) else f"{figure:{form}}" for figure in figures]


def test_the_readme_shows_the_stored_errors_in_the_gaps_of_madrid():
    columns = evaluated("madrid")
    rows = [
        line_of([gap.lstrip("0"), *with_the_best_in_bold([column[gap] for column in columns], ".3f", min)])
        for gap in columns[-1]
    ]
    shown = README.read_text().splitlines()
    assert [row for row in rows if row not in shown] == []


def test_the_readme_shows_the_stored_errors_of_st_petersburg():
    *published, _, _, trees, base, ours = (column["mean"] for column in evaluated("stpetersburg"))
    text = " ".join(README.read_text().split())
    assert f"{ours:.3f} with them, {base:.3f} without (trees {trees:.3f}" in text
    assert f"{min(published):.3f} and more" in text


def test_the_readme_shows_the_stored_accuracies_of_digits():
    results = stored("mnist")
    columns = (mnist.UNCHANGED, OPTUNA_ARTICLES, OPTUNA, PBT, mnist.FULL)
    accuracies = [results.values(column, "accuracy") for column in columns]
    best = max(accuracies, key=mean)
    row = line_of([f"**{spread(one)}**" if one is best else spread(one) for one in accuracies])
    text = README.read_text()
    assert row in text.splitlines()
    strong, strongly = (spread(results.values(column, "accuracy")) for column in (mnist.STRONG, mnist.STRONGLY))
    assert f"{strong} unchanged, and {strongly} with MIHA from there" in " ".join(text.split())
    assert f"{results.values(mnist.UNCHANGED, 'epochs')[0]} epochs" in text
    assert f"{results.values(mnist.FULL, 'parameters')[0]:,} parameters" in text
