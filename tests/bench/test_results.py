import json
import sys

import pytest
from processes import ROOT, alive, descendants, environment, running, said, wait_for

from bench import gapfill, mnist, speed
from bench.results import DOCUMENT, RESULTS, Results, put_block, spread, table
from miha.errors import MihaError


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
    said = json.loads(results.file.read_text())
    assert said["settings"] == {"epochs": 3}
    assert said["results"]["ours"]["0"]["accuracy"] == 0.5
    assert {"cpu", "cores", "libraries", "git_revision", "date", "command"} <= set(said["machine"])


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
        wait_for(said(log, "working"), 60, log)
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


@pytest.mark.parametrize("part", ["mnist", "gapfill autoencoder", "gapfill unet", "gapfill ablations", "speed"])
def test_the_documentation_shows_the_stored_figures(part):
    name = part.split()[0]
    settings = json.loads((RESULTS / f"{name}.json").read_text())["settings"]
    results = Results(name, settings, fresh=False)
    told = {
        "mnist": lambda: mnist.rows_of(results),
        "gapfill autoencoder": lambda: (
            f"{gapfill.comparison(results, 'autoencoder')}\n{gapfill.winners(results, 'autoencoder')}"
        ),
        "gapfill unet": lambda: f"{gapfill.comparison(results, 'unet')}\n{gapfill.winners(results, 'unet')}",
        "gapfill ablations": lambda: gapfill.ablation_table(results),
        "speed": lambda: speed.rows_of(results),
    }[part]()
    lines = told.splitlines() if isinstance(told, str) else [f"| {' | '.join(row)} |" for row in told]
    page = DOCUMENT.read_text()
    assert [line for line in lines if line not in page] == []
