import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from flows.cli import app, main
from miha.gapfill import assess
from miha.gapfill.base import fill_base
from miha.gapfill.predictors import Background, Static
from miha.rasters import stack
from miha.rasters.stack import list_rasters, read_scene
from miha.records.archive import read_manifest
from miha.run import optimize

SMALL = [
    "--set",
    "problem.width=4",
    "--set",
    "problem.levels=2",
    "--set",
    "problem.train_samples=6",
    "--set",
    "problem.valid_samples=4",
    "--set",
    "problem.trees=12",
    "--set",
    "schedule.initial_epochs=1",
    "--set",
    "schedule.cycles=1",
    "--set",
    "schedule.population_size=2",
    "--set",
    "schedule.candidate_epochs=1",
    "--set",
    "schedule.fixing_epochs=1",
]


def miha(*arguments, capsys=None, monkeypatch=None):
    """Call the command line as the installed script does; returns its exit code."""
    monkeypatch.setattr(sys, "argv", ["miha", *map(str, arguments)])
    try:
        main()
    except SystemExit as stop:
        return stop.code or 0
    return 0


@pytest.fixture
def call(capsys, monkeypatch):
    def run(*arguments):
        code = miha(*arguments, monkeypatch=monkeypatch)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.mark.parametrize(
    "command",
    [
        *("simulate", "fetch", "prepare", "products", "optimize", "replay", "evaluate", "fill", "assess", "show"),
        *("export", "lineage", "report", "doctor", "view"),
    ],
)
def test_every_command_explains_itself_its_arguments_and_its_options(command):
    result = CliRunner().invoke(app, [command, "--help"], terminal_width=200)
    assert result.exit_code == 0
    assert "Usage" in result.output
    known = typer.main.get_command(app).commands[command]
    assert known.help
    for parameter in known.params:
        assert parameter.help, f"{command}: {parameter.name} is not explained"


def test_the_version_is_printed(call):
    assert call("--version") == (0, f"miha {version('miha')}\n", "")


def test_a_shell_can_complete_commands(tmp_path):
    result = subprocess.run(
        [sys.executable, "-c", "from flows.cli import app; app(prog_name='miha')"],
        env={**os.environ, "_MIHA_COMPLETE": "complete_bash", "COMP_WORDS": "miha sim", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["simulate"]


def test_help_needs_neither_pytorch_nor_prefect():
    code = "import sys, flows.cli; print([name for name in ('torch', 'prefect', 'rasterio', 'pandas') if name in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_the_list_of_commands_holds_whole_sentences(call):
    lines = call("--help")[1].split("Commands:")[1].strip().splitlines()
    assert len(lines) > 10
    assert [line for line in lines if line.endswith("...") or not line.endswith(".")] == []


def test_a_scene_without_a_history_is_filled_with_a_word_about_it(call, tmp_path):
    assert call("simulate", tmp_path / "data", "--days", 12, "--height", 32, "--width", 40)[0] == 0
    scene = sorted((tmp_path / "data" / "gapped").glob("*.tif"))[0]
    for given in ([], ["--data", tmp_path / "data"]):
        code, output, _ = call("fill", scene, *given, "--out", tmp_path / f"out{len(given)}")
        assert code == 0
        assert ("Each scene is filled from itself alone" in output) == (not given)


def test_the_whole_job_from_simulation_to_report(call, tmp_path):
    scenes, run, out = tmp_path / "scenes", tmp_path / "run", tmp_path / "out"
    assert call("simulate", scenes, "--days", 12, "--height", 32, "--width", 40, "--seed", 1)[0] == 0
    code, output, _ = call("optimize", "--data", scenes, "--run-dir", run, "--no-prefect", "--workers", 1, *SMALL)
    assert code == 0
    assert "Budget 5 epochs = 1 + 1 × (2·1 + 1) + 1" in output
    assert "cycle 1" in output
    assert "selected" in output
    assert "Best model" in output

    code, output, _ = call("fill", *list_rasters(scenes / "gapped"), "--run-dir", run, "--data", scenes, "--out", out)
    assert code == 0
    for source in list_rasters(scenes / "gapped"):
        before, after = read_scene(source), read_scene(out / source.name)
        assert not after.gaps.any()
        assert np.array_equal(before.values[~before.gaps], after.values[~before.gaps])

    code, output, _ = call(
        "evaluate", "--run-dir", run, "--data", scenes, "--json", tmp_path / "m.json", "--against", run
    )
    assert code == 0
    assert "simulated" in output
    metrics = json.loads((tmp_path / "m.json").read_text())
    assert set(metrics["mae"]["gaps"]) == {"05", "10", "20", "30", "40", "50", "75", "95"}
    assert set(metrics["methods"]) == {"mean_plus_offset", "ridge", "trees", "base", "run"}
    assert metrics["mae"]["mean"] == pytest.approx(np.mean(list(metrics["mae"]["gaps"].values())))
    assert metrics["methods"]["run"] == metrics["mae"]

    code, output, _ = call("show", run / "model" / "model_best.zip")
    assert code == 0
    for name in ("lr", "weight decay", "momentum", "beta2", "batch size", "activations", "loss l1", "dropout"):
        assert name in output
    assert "git revision" in output
    assert '"population_size": 2' in output.replace("\n", "")
    page = run / "report.html"
    page.unlink()
    assert call("report", run)[0] == 0
    text = page.read_text()
    assert text.count('<input type="range"') == 3
    assert "simulated" in text
    assert 'src="http' not in text
    assert 'href="http' not in text


def test_scenes_are_filled_without_a_run(call, simulated, tmp_path):
    sources, out = list_rasters(simulated / "gapped")[:2], tmp_path / "out"
    code, output, _ = call("fill", *sources, "--data", simulated, "--out", out)
    assert code == 0
    assert output.count("pixels filled") == 2
    for source in sources:
        before, after = read_scene(source), read_scene(out / source.name)
        assert not after.gaps.any()
        assert np.array_equal(before.values[~before.gaps], after.values[~before.gaps])
        std = read_scene(out / f"{source.stem}_std.tif")
        assert np.array_equal(std.gaps, ~before.gaps)
        assert std.unit == "K"


def test_a_scene_is_filled_without_a_data_set_and_not_where_the_fill_is_unsure(call, simulated, tmp_path):
    source = shutil.copy(list_rasters(simulated / "gapped")[4], tmp_path / "scene.tif")
    scene = read_scene(source).values
    limit = float(np.median(fill_base(scene, Background.none(scene), Static.none(scene.shape), 0).std[np.isnan(scene)]))
    assert call("fill", source, "--out", tmp_path / "out", "--max-std", limit)[0] == 0
    origin, std = (read_scene(tmp_path / "out" / f"scene_{name}.tif").values for name in ("source", "std"))
    assert set(np.unique(origin)) == {0, 1, 2}
    assert np.nanmax(std) <= limit
    assert np.array_equal(read_scene(tmp_path / "out" / "scene.tif").gaps, origin == 2)


def test_the_error_to_expect_is_printed_drawn_and_written(call, simulated, tmp_path):
    picture, table = tmp_path / "errors.png", tmp_path / "errors.csv"
    code, output, _ = call("assess", simulated, "--gaps", 4, "--workers", 1, "--picture", picture, "--csv", table)
    assert code == 0
    assert "mean absolute error, K" in output
    rows = [line.split() for line in output.splitlines()]
    assert ["gap", "mean_plus_offset", "ridge", "trees", "base", "patterns"] in rows
    assert [row[0] for row in rows if row][-3:-1] == ["all", "standard"]
    assert "Share of hidden values inside the base's intervals of 50 %:" in output
    assert picture.read_bytes().startswith(b"\x89PNG")
    head, *lines = table.read_text().splitlines()
    assert head == "day,size,mean_plus_offset,ridge,trees,base,patterns,50,80,95,crps"
    assert len(lines) == 4


def test_errors_of_a_stack_too_large_for_memory_are_said_to_be_of_windows(call, scenes, monkeypatch):
    monkeypatch.setattr(stack, "IN_MEMORY", 0)
    monkeypatch.setattr(assess, "working", lambda processes: nullcontext())  # others would not know of this
    code, output, _ = call("assess", scenes, "--gaps", 4, "--workers", 1)
    assert code == 0
    assert "gap in percent of a window of 256 × 256 pixels" in output
    assert "errors are of a window of 256 × 256 pixels, not of whole scenes" in " ".join(output.split())


def test_the_unchanged_baseline_is_an_option(call, simulated, tmp_path):
    code, output, _ = call(
        "optimize",
        "--data",
        simulated,
        "--run-dir",
        tmp_path / "run",
        "--no-prefect",
        "--unchanged",
        "--workers",
        1,
        *SMALL,
    )
    assert code == 0
    assert "unchanged hyperparameters" in output
    assert not list((tmp_path / "run").glob("population/*.zip"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["optimize", "--data", "nowhere", "--no-prefect"], "no such folder: .*nowhere"),
        (["optimize", "--set", "schedule.cycle=3", "--set", "seed=-1"], "schedule.cycle: no such key"),
        (["optimize", "--config", "none.yaml"], "none.yaml cannot be read"),
        (["optimize", "--problem", "chess"], "no problem 'chess'"),
        (["prepare", "nowhere", "--out", "x"], "nowhere is no fetched city"),
        (["fetch", "atlantis", "--out", "x"], "unknown data set 'atlantis'"),
        (["show", "none.zip"], "no such archive: none.zip"),
        (["export", "none.zip", "--out", "none.pt"], "no such archive: none.zip"),
        (["lineage", "none"], "none is not the directory of a run"),
        (["report", "nowhere"], "nowhere is not the directory of a finished run"),
        (["evaluate", "--run-dir", "nowhere", "--data", "x"], "no such archive"),
        (["fill", "a.tif", "--run-dir", "x", "--model", "z", "--out", "y"], "give either --run-dir or --model"),
        (["fill", "a.tif", "--model", "z", "--out", "y"], r"z fills from the days of a data set\. Give --data"),
        (["fill", "a.tif", "--data", "nowhere", "--out", "y"], "no such folder: .*nowhere"),
        (
            ["fill", "a.tif", "--model", "z", "--band", "2", "--out", "y"],
            "--band: how rasters are read is the model's own. Leave it out",
        ),
        (["fill", "a.tif", "--date-pattern", "%Y%Y", "--out", "y"], "--date-pattern: '%Y%Y' has one directive twice"),
        (["fill", "--out", "y"], "give scenes to fill, or --dates to fill the days of a history"),
        (["fill", "a.tif", "--valid-range", "2", "1", "--out", "y"], "--valid-range: the least value 2 is not below"),
        (["fill", "--dates", "all", "--method", "eof", "--model", "m", "--data", "x", "--out", "y"], "without a model"),
        (["fill", "a.tif", "--method", "eof", "--out", "y"], "--method eof fills the days of a history: give --dates"),
        (["fill", "--dates", "all", "--out", "y"], "--dates fills the days of a history: give --data"),
        (["fill", "a.tif", "--dask", "tcp://h:1", "--out", "y"], "--dask spreads the days .* give --dates"),
        (["fill", "a.tif", "--zarr", "--out", "y"], "--zarr writes a cube of the days .* give --dates"),
        (["fill", "--dates", "May", "--data", "x", "--out", "y"], "--dates: 'May' is neither 'all' nor a span"),
        (["assess", "nowhere"], "no such folder: .*nowhere"),
        (["simulate", "out", "--days", "2"], "--days must be at least 6 but is 2"),
    ],
)
def test_a_mistake_is_one_clear_message_with_exit_code_2_and_nothing_written(
    call, tmp_path, monkeypatch, arguments, message
):
    import re

    monkeypatch.chdir(tmp_path)
    code, _, errors = call(*arguments)
    assert code == 2
    assert errors.startswith("miha: ")
    assert re.search(message, errors)
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_option_is_reported_with_exit_code_2(call):
    assert call("optimize", "--dada", "x")[0] == 2


def test_output_that_is_no_terminal_is_plain(simulated, tmp_path):
    command = [
        Path(sys.executable).parent / "miha",
        "optimize",
        "--data",
        simulated,
        "--run-dir",
        tmp_path / "run",
        "--no-prefect",
        "--workers=1",
        *SMALL,
    ]
    result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"}, check=True)
    assert "\x1b" not in result.stdout
    assert "Budget" in result.stdout


def test_a_mistake_is_reported_before_prefect_starts(call, tmp_path):
    code, out, errors = call("optimize", "--data", tmp_path / "nowhere", "--run-dir", tmp_path / "run")
    assert code == 2
    assert errors.startswith("miha: no such folder")
    assert "Traceback" not in out + errors
    assert not (tmp_path / "run").exists()


def test_replay_trains_along_the_schedule_of_a_run_and_says_what_it_cannot_use(call, tiny_config, tmp_path):
    run = optimize(tiny_config())
    code, out, _ = call("replay", run.run_dir, "--run-dir", tmp_path / "again", "--seed", 4, "--no-prefect")
    assert code == 0
    assert "a schedule replayed" in out
    assert read_manifest(tmp_path / "again/model/model_final.zip").record.hyperparameters == final_of(run)
    code, _, err = call("replay", tmp_path, "--run-dir", tmp_path / "third", "--no-prefect")
    assert code == 2
    assert "is not the directory of a finished run" in err


def final_of(run):
    return read_manifest(run.run_dir / "model/model_final.zip").record.hyperparameters


def test_days_that_cannot_be_filled_are_listed_and_tell_by_the_exit_code(call, simulated, tmp_path):
    (tmp_path / "data").mkdir()
    shutil.copytree(simulated / "history", tmp_path / "data" / "history")
    first, second = list_rasters(tmp_path / "data" / "history")[:2]
    first.write_bytes(second.read_bytes()[:300])
    days = ["--dates", "2021-05-01/2021-05-02", "--method", "eof", "--workers", "1"]
    code, output, _ = call("fill", "--data", tmp_path / "data", *days, "--out", tmp_path / "out")
    assert code == 1
    assert "1 day could not be filled, for the reasons above: 2021-05-01" in output
    assert (tmp_path / "out" / second.name).exists()
