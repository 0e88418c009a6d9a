"""The command line: ``miha COMMAND``. Each command imports what it needs, so that ``--help`` is quick."""

import atexit
import gc
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from flows.data import fetch, prepare, products, simulate
from flows.gaps import assess, fill
from flows.looking import doctor, view
from flows.results import export, lineage, report, show
from flows.showing import shown
from miha.errors import MihaError

# Nothing calls home, and Prefect's own chatter stays in its log unless the user asks for it.
QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}

EXTRAS = {  # what pip calls the libraries that a command may lack
    **dict.fromkeys(("rasterio", "sklearn", "scipy", "pooch"), "rasters"),
    **dict.fromkeys(("prefect", "httpx", "uvicorn"), "prefect"),
    **dict.fromkeys(("onnx", "onnxscript"), "onnx"),
    "tensorboard": "tensorboard",
    **dict.fromkeys(("mlflow", "sqlalchemy", "alembic"), "mlflow"),
    "pystac": "stac",
    **dict.fromkeys(("xarray", "zarr", "pyproj"), "xarray"),
}

app = typer.Typer(
    help="Fill cloud gaps in satellite rasters, and tune a PyTorch network while it trains.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DataOption = Annotated[Path, typer.Option(help="folder of the data set: history/ static/ companions/ gapped/ truth/")]
RunOption = Annotated[Path, typer.Option(help="folder of the run")]


def main() -> None:
    """Run a command; an error of MIHA is printed on stderr and ends with exit code 2."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    signal.signal(signal.SIGTERM, _terminate)
    atexit.register(gc.freeze)  # else the interpreter spends half a second on taking PyTorch apart
    try:
        app()
    except (MihaError, OSError) as error:
        _refuse(str(error))
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        _refuse(f"this needs {error.name}, which is not installed: pip install 'miha[{EXTRAS[error.name]}]'.")


def _refuse(reason: str) -> None:
    print(f"miha: {reason}", file=sys.stderr)
    sys.exit(2)


def _terminate(number: int, frame: FrameType | None) -> None:
    """End as after Ctrl-C: workers stop, and the lock of the run is given back."""
    sys.exit(128 + number)


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"miha {version('miha')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="show the version and exit")
    ] = False,
) -> None:
    pass


for _command in (simulate, fetch, prepare, products):
    app.command()(_command)


@app.command()
def optimize(
    data: Annotated[Path | None, typer.Option(help="folder of the data set; default: problem.data")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="folder of the run; default: run_dir, runs/default")] = None,
    problem: Annotated[
        str | None, typer.Option(help="gapfill, pretraining, mnist or module:Class; default: problem.name, gapfill")
    ] = None,
    config: Annotated[
        list[str],
        typer.Option(metavar="FILE[:SECTION]", help="YAML file, or a section of it; repeatable"),
    ] = [],  # noqa: B006
    settings: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="one key, e.g. schedule.cycles=5; repeatable")
    ] = [],  # noqa: B006
    workers: Annotated[int | None, typer.Option(help="processes; default: run.workers, one a core")] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="tcp://HOST:PORT", help="train on the Dask cluster of this scheduler")
    ] = None,
    prefect: Annotated[
        bool, typer.Option("--prefect/--no-prefect", help="run as a Prefect flow, or without Prefect")
    ] = True,
    pretrained: Annotated[
        Path | None,
        typer.Option(metavar="ARCHIVE", help="model archive of the same network to start from, e.g. an earlier run's"),
    ] = None,
    unchanged: Annotated[
        bool, typer.Option("--unchanged", help="no search: as many epochs with unchanged hyperparameters")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="delete what another configuration left in the run folder")
    ] = False,
    tensorboard: Annotated[Path | None, typer.Option(help="folder for the curves, to look at in TensorBoard")] = None,
    mlflow: Annotated[Path | None, typer.Option(help="folder for mlflow.db, to look at in MLflow")] = None,
) -> None:
    """Train a network once while its hyperparameters adapt. The same command again continues an interrupted run."""
    from flows.server import start_server

    if prefect:
        start_server()  # it takes seconds, as do PyTorch's imports in two processes
    if workers != 1 and not dask:
        from miha.training.workers import warm_up

        warm_up()
    from miha.config_files import read_config

    given = {
        "problem.data": data and str(data),
        "run_dir": run_dir and str(run_dir),
        "problem.name": problem,
        "run.workers": workers,
        "run.dask": dask,
        "pretrained": pretrained,
        "unchanged": unchanged or None,
        "replace": replace or None,
    }
    _train(
        read_config(config, settings, {key: value for key, value in given.items() if value is not None}),
        prefect,
        tensorboard,
        mlflow,
    )


@app.command()
def replay(
    run: Annotated[Path, typer.Argument(help="folder of a finished run")],
    run_dir: Annotated[Path, typer.Option(help="folder of the replay")],
    data: Annotated[Path | None, typer.Option(help="folder of another data set; default: that of the run")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="another seed; default: that of the run")] = None,
    schedule: Annotated[
        Path | None, typer.Option(help="file to train along; default: schedule.yaml of the run")
    ] = None,
    prefect: Annotated[
        bool, typer.Option("--prefect/--no-prefect", help="run as a Prefect flow, or without Prefect")
    ] = True,
) -> None:
    """Train again along the schedule that a run found. No candidates are trained."""
    from flows.server import start_server

    if prefect:
        start_server()
    from miha.replay import replay_config

    _train(replay_config(run, run_dir, data, seed, schedule), prefect)


def _train(config: Any, prefect: bool, tensorboard: Path | None = None, mlflow: Path | None = None) -> None:
    """Carry out a run; as a flow once Prefect's server, which was started before, is there."""
    from flows.server import choose_server, reach_server
    from miha.experiment import Experiment

    with shown("Stopped. The same command continues where it was.", tensorboard, mlflow) as console:
        if prefect:
            Experiment(config).check()  # a mistake is reported before Prefect starts
            choose_server()
            from flows.optimize import carry_out  # Prefect reads its settings when it is imported

            reach_server()
            carry_out(config)
        else:
            from miha.run import optimize as run

            run(config)
        console.print(f"Report: {config.run_dir / 'report.html'}", markup=False)


@app.command()
def evaluate(
    run_dir: RunOption,
    data: DataOption,
    json: Annotated[Path | None, typer.Option(help="JSON file for all figures")] = None,
    against: Annotated[Path | None, typer.Option(help="folder of another run to compare with")] = None,
    summary: Annotated[Path | None, typer.Option(help="file for the run's own figures and hyperparameters")] = None,
    plots: Annotated[Path | None, typer.Option(help="folder for CSV and PNG files to plot; it is replaced")] = None,
) -> None:
    """Judge a run's best model on data it did not learn from.

    Gap filling: held-out gaps, beside baselines and published methods. Other problems: test samples.
    """
    from miha.files import write_json
    from miha.report.evaluate import evaluate as judge
    from miha.report.exports import write_plots, write_summary
    from miha.report.tables import judgement_table

    with shown() as console:
        metrics, judgement = judge(run_dir, data, against)
        console.print(judgement_table(judgement))
        if judgement.verdict:
            console.print(judgement.verdict, soft_wrap=True)
    if json:
        write_json(json, metrics)
    if summary:
        write_summary(summary, metrics)
    if plots:
        write_plots(plots, run_dir, data, judgement)


for _fill in (fill, assess):
    app.command()(_fill)

for _look in (report, show, lineage, export, view, doctor):
    app.command()(_look)
