"""Filling a series on a real Dask cluster of two worker processes on this machine."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

from flows.fill import fill_series as flow
from miha.errors import ConfigError, RunError
from miha.events import Counted, Message, observed_by
from miha.gapfill.series import Series, days_of, fill_series
from miha.rasters.stack import list_rasters
from miha.training.workers import working
from tasks.placing import placed
from tests.support.cluster import scheduling, worker
from tests.support.processes import BIN, descendants, environment, logged, running, wait_for
from tests.support.runs import of_kind

pytest.importorskip("distributed", reason="needs the extra dask")
pystac, xarray = (pytest.importorskip(name, reason="needs the extras stac and xarray") for name in ("pystac", "xarray"))


FILL_AND_KILL = """
import os, signal, sys
from datetime import date
from pathlib import Path

import tasks.cluster
from miha.gapfill.series import Series, fill_series
from tasks.placing import placed

data, out, scheduler, *workers = sys.argv[1:]


class Late(tasks.cluster._ClusterPool):
    async def _settle(self, remote):
        await remote._state.wait()
        for pid in workers:
            os.kill(int(pid), signal.SIGKILL)
        workers.clear()
        await super()._settle(remote)


tasks.cluster._ClusterPool, tasks.cluster._PATIENCE = Late, 3
day = date(2021, 5, 1)
fill_series(*placed(Series(data=Path(data), out=Path(out), first=day, last=day), 1, scheduler))
"""


@pytest.fixture
def scheduler(tmp_path):
    with scheduling(tmp_path) as (address, _):
        yield address


@pytest.fixture
def workers(scheduler, tmp_path):
    """Two, without the nannies that would start them again."""
    env, logs = environment(tmp_path / "home"), [tmp_path / f"worker{number}.log" for number in (1, 2)]
    one, two = ([*worker(scheduler, name), "--no-nanny"] for name in ("one", "two"))
    with running(one, logs[0], env) as first, running(two, logs[1], env) as second:
        for log in logs:
            wait_for(logged(log, "Registered to:"), 60, log)
        yield first, second


def contents(out):
    return {path.name: path.read_bytes() for path in out.glob("*.tif")}


@pytest.mark.slow
def test_where_no_scheduler_answers_it_is_said_before_anything_is_filled(simulated, tmp_path):
    series = Series(data=simulated, out=tmp_path / "out")
    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1.*dask scheduler"):
        fill_series(*placed(series, 1, "tcp://127.0.0.1:1"))
    assert not contents(series.out)


@pytest.mark.slow
def test_a_cluster_without_workers_is_reported(scheduler, simulated, tmp_path):
    with pytest.raises(ConfigError, match=r"has no workers\. Start some"):
        fill_series(*placed(Series(data=simulated, out=tmp_path / "out"), 1, scheduler))


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount of its own")
def test_a_worker_that_does_not_see_the_folders_is_named(scheduler, simulated, tmp_path):
    """The worker's machine has another folder of that name."""
    (tmp_path / "out").mkdir()
    hidden = f"mount -t tmpfs none {tmp_path / 'out'} && exec " + " ".join(worker(scheduler, "blind"))
    log = tmp_path / "worker.log"
    with running(["unshare", "--mount", "sh", "-c", hidden], log, environment(tmp_path / "home")):
        wait_for(logged(log, "Registered to:"), 60, log)
        with pytest.raises(ConfigError, match=r"cannot see .*/out\. Put it on storage that all Dask workers share"):
            fill_series(*placed(Series(data=simulated, out=tmp_path / "out"), 1, scheduler))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["base", "eof"])
def test_a_worker_that_is_killed_takes_its_days_to_the_other_and_files_are_those_of_this_machine(
    scheduler, workers, simulated, tmp_path, method
):
    here, there = (Series(data=simulated, out=tmp_path / name, method=method) for name in ("here", "there"))
    fill_series(here, working(2))
    events = []

    def kill(event):
        events.append(event)
        if isinstance(event, Message) and "filled" in event.line and workers[0].poll() is None:
            for pid in descendants(workers[0].pid) | {workers[0].pid}:
                os.kill(pid, signal.SIGKILL)
            workers[0].wait()

    with observed_by(kill):
        assert fill_series(*placed(there, 1, scheduler)) == {}
    assert workers[0].poll() == -signal.SIGKILL
    assert contents(there.out) == contents(here.out)
    assert len(contents(here.out)) == 3 * len(days_of(here))
    assert of_kind(events, Counted)[-1].done == len(days_of(here))


@pytest.mark.slow
def test_a_cluster_that_goes_away_is_reported_and_the_same_command_continues(simulated, tmp_path):
    series = Series(data=simulated, out=tmp_path / "out")
    with scheduling(tmp_path) as (address, process):
        log = tmp_path / "worker.log"
        with running(worker(address, "one"), log, environment(tmp_path / "home")):
            wait_for(logged(log, "Registered to:"), 60, log)

            def stop(event):
                if isinstance(event, Message) and "filled" in event.line:
                    process.kill()

            with observed_by(stop), pytest.raises(RunError, match=r"is gone\. .* the same command continues"):
                fill_series(*placed(series, 1, address))
    done = sum(day.filled for day in days_of(series))
    assert 0 < done < len(days_of(series))
    assert fill_series(series, working(2)) == {}
    assert all(day.filled for day in days_of(series))


@pytest.mark.slow
def test_once_all_workers_are_dead_it_waits_and_ends_and_the_same_command_continues(
    scheduler, workers, simulated, tmp_path, monkeypatch
):
    monkeypatch.setattr("tasks.cluster._PATIENCE", 3)
    series, events = Series(data=simulated, out=tmp_path / "out"), []

    def kill(event):
        events.append(event)
        if isinstance(event, Message) and "filled" in event.line:
            for process in workers:
                for pid in descendants(process.pid) | {process.pid}:
                    os.kill(pid, signal.SIGKILL)
                process.wait()

    with observed_by(kill), pytest.raises(RunError) as caught:
        fill_series(*placed(series, 1, scheduler))
    days = days_of(series)
    done = sum(day.filled for day in days)
    assert 0 < done < len(days)
    assert str(caught.value) == (
        f"the Dask cluster at {scheduler} has had no worker for 3 s. Start some: `dask worker {scheduler}`. {done} of "
        f"{len(days)} days are done. Once the cluster is back, the same command continues."
    )
    assert [event.line for event in of_kind(events, Message)][-1].endswith("has no worker left: 3 s for one")
    assert fill_series(series, working(2)) == {}
    assert all(day.filled for day in days_of(series))


@pytest.mark.slow
def test_workers_that_die_before_their_results_are_fetched_end_the_work_too(scheduler, workers, simulated, tmp_path):
    """As the command, since its process must end as well."""
    script = tmp_path / "fill.py"
    script.write_text(FILL_AND_KILL)
    pids = [str(pid) for process in workers for pid in (process.pid, *descendants(process.pid))]
    result = subprocess.run(
        [sys.executable, script, simulated, tmp_path / "out", scheduler, *pids],
        env=environment(tmp_path / "home"), capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert "has had no worker for 3 s" in result.stderr, result.stdout + result.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_the_flow_fills_on_a_cluster(scheduler, workers, simulated, tmp_path):
    series = Series(data=simulated, out=tmp_path / "out", method="eof")
    assert flow(series, 1, scheduler) == {}
    assert all(day.filled for day in days_of(series))


@pytest.mark.slow
def test_the_command_line_fills_on_a_cluster_from_relative_folders(scheduler, workers, simulated, tmp_path):
    (tmp_path / "DATA").symlink_to(simulated)
    with rasterio.open(list_rasters(simulated / "history")[0]) as raster:
        profile = {**raster.profile, "nodata": None, "dtype": "uint8"}
    with rasterio.open(tmp_path / "area.tif", "w", **profile) as raster:
        raster.write(np.tri(raster.height, dtype=np.uint8), 1)
    command = [str(BIN / "miha"), "fill", "--data", "DATA", "--dates", "2021-05-01/2021-05-03", "--out", "filled"]
    result = subprocess.run(
        [*command, "--area", "area.tif", "--stac", "--zarr", "--dask", scheduler],
        cwd=tmp_path, env=environment(tmp_path / "home"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert sorted(Path(tmp_path / "filled").glob("2021050[1-3].tif"))
    assert "outside the area left as they were" in result.stdout
    assert len(xarray.open_zarr(tmp_path / "filled/cube.zarr").time) == 3
    assert len(list(pystac.Collection.from_file(tmp_path / "filled/collection.json").get_items())) == 3
