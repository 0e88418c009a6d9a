"""Scheduled operation as in docs/operate.md: a real server, work pool, worker and deployments, and the page."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from miha.gapfill.release import released_model
from tests.support.processes import BIN, ROOT, environment, free_port, logged, running, wait_for

pytestmark = pytest.mark.slow

SMALL = [
    "problem.train_samples=12",
    "problem.valid_samples=6",
    "problem.trees=12",
    "problem.width=4",
    "problem.levels=2",
    "schedule.initial_epochs=2",
    "schedule.cycles=1",
    "run.checkpoint_every=0",
]


class Site:
    """A server, a worker and the two deployments, all on this machine."""

    def __init__(self, folder: Path, url: str, env: dict[str, str], scenes: Path) -> None:
        self.folder, self.url, self.env = folder, url, env
        self.scenes, self.models, self.runs = scenes, folder / "models", folder / "runs"
        self.incoming, self.filled = folder / "incoming", folder / "filled"

    def prefect(self, *arguments: str) -> str:
        result = subprocess.run(
            [str(BIN / "prefect"), *arguments], capture_output=True, text=True, env=self.env, cwd=ROOT, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def retrain(self, *settings: str, watch: bool = True) -> str:
        parameters = {
            "dataset": "sim",
            "data": str(self.scenes),
            "raw": None,
            "config": [],
            "settings": [*SMALL, *settings],
            "models": str(self.models),
            "runs": str(self.runs),
        }
        return self._run("retrain/retrain", parameters, watch)

    def fill(self) -> str:
        parameters = {
            "dataset": "sim",
            "data": str(self.scenes),
            "incoming": str(self.incoming),
            "out": str(self.filled),
            "models": str(self.models),
        }
        return self._run("fill-incoming/fill", parameters, True)

    def _run(self, deployment: str, parameters: dict, watch: bool) -> str:
        more = ["--watch", "--watch-timeout", "300"] if watch else []
        output = self.prefect("deployment", "run", deployment, "--params", json.dumps(parameters), *more)
        return output.partition("flow-run/")[2].split()[0]

    def post(self, path: str, body: dict):
        answer = httpx.post(f"{self.url}/api/{path}", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def state(self, flow_run: str) -> str:
        return httpx.get(f"{self.url}/api/flow_runs/{flow_run}", timeout=30).json()["state"]["name"]


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, simulated: Path):
    folder, port = tmp_path_factory.mktemp("site"), free_port()
    url = f"http://127.0.0.1:{port}"
    env = environment(folder / "home", PREFECT_API_URL=f"{url}/api")
    server, log = [str(BIN / "prefect"), "server", "start", "--port", str(port)], folder / "server.log"
    with running(server, log, env):
        wait_for(lambda: answers(f"{url}/api/health"), 180, log)
        site = Site(folder, url, env, simulated)
        site.prefect("work-pool", "create", "miha", "--type", "process")
        site.prefect("--no-prompt", "deploy", "--all")
        log = folder / "worker.log"
        with running([str(BIN / "prefect"), "worker", "start", "--pool", "miha"], log, env):
            wait_for(logged(log, "started!"), 60, log)
            yield site


def test_both_deployments_have_a_schedule_with_a_time_zone(site):
    found = {one["name"]: one["schedules"][0]["schedule"] for one in site.post("deployments/filter", {})}
    assert found.keys() == {"retrain", "fill"}
    assert all(schedule["cron"] and schedule["timezone"] == "Europe/Madrid" for schedule in found.values())


def test_the_first_retraining_is_released_and_a_model_that_is_not_better_is_not(site):
    first = site.retrain()
    assert site.state(first) == "Completed"
    model = released_model(site.models / "sim")
    assert [path.stem for path in (site.runs / "sim").iterdir()] == [model.stem]
    second = site.retrain()
    assert site.state(second) == "Completed"
    assert len(list((site.runs / "sim").iterdir())) == 2
    assert released_model(site.models / "sim") == model
    artifacts = site.post("artifacts/filter", {"artifacts": {"key": {"any_": ["release"]}}})
    assert "was not released: " in "".join(one["data"] for one in artifacts)


def test_scenes_that_arrive_are_filled_once_and_a_broken_one_is_set_aside(site):
    site.incoming.mkdir()
    for path in sorted((site.scenes / "gapped").glob("*.tif"))[:2]:
        shutil.copy(path, site.incoming)
    (site.incoming / "20210704.tif").write_text("not a raster")
    for path in site.incoming.iterdir():
        os.utime(path, (time.time() - 600,) * 2)
    (site.incoming / "20210705.tif").write_text("still arriving")
    assert site.state(site.fill()) == "Completed"
    names = sorted(path.name for path in site.filled.glob("[!.]*.tif"))
    assert len(names) == 6
    assert "cannot be read as a raster" in (site.incoming / "rejected/20210704.tif.reason.txt").read_text()
    assert (site.incoming / "20210705.tif").exists()
    before = {path: path.stat().st_mtime_ns for path in site.filled.glob("[!.]*.tif")}
    assert site.state(site.fill()) == "Completed"
    assert {path: path.stat().st_mtime_ns for path in site.filled.glob("[!.]*.tif")} == before


def test_a_run_that_was_killed_is_continued_by_a_retry_from_the_page(site):
    before = set((site.runs / "sim").iterdir())
    flow_run = site.retrain("schedule.initial_epochs=60", "seed=1", watch=False)
    wait_for(lambda: any((site.runs / "sim").glob("*/model/init_checkpoint.zip")), 120)
    (run_dir,) = set((site.runs / "sim").iterdir()) - before
    os.kill(int((run_dir / ".holder").read_text().split()[1]), signal.SIGKILL)
    wait_for(lambda: site.state(flow_run) == "Crashed", 60)
    wait_for(logged(site.folder / "worker.log", "flow_runs.worker - Check whether"), 60)  # it has done with the crash
    site.post(
        f"flow_runs/{flow_run}/set_state", {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True}
    )
    wait_for(lambda: site.state(flow_run) in ("Completed", "Failed"), 120)
    assert site.state(flow_run) == "Completed"
    assert set((site.runs / "sim").iterdir()) - before == {run_dir}
    assert (run_dir / "report.html").exists()
    logs = site.post("logs/filter", {"logs": {"level": {"ge_": 20}}, "limit": 200, "sort": "TIMESTAMP_DESC"})
    assert any("init: 60 epochs, " in one["message"] and " 0 of them" not in one["message"] for one in logs)


def test_the_page_shows_names_tags_tables_and_what_the_child_processes_say(site):
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    (run, *_) = [one for one in site.post("flow_runs/filter", {"sort": "START_TIME_DESC"}) if "seed 0" in one["tags"]]
    tasks = site.post("task_runs/filter", {"limit": 200})
    assert tasks
    assert not any(task["tags"] for task in tasks), "each tag is a question to the server, before each task"
    page = f"{site.url}/runs/flow-run/{run['id']}"
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        *quiet,
        f"--user-data-dir={site.folder}/chromium",
    ]
    command += ["--virtual-time-budget=10000", "--window-size=1400,1800"]
    log = site.folder / "page.log"
    shown = ("simulated, seed 0", "gapfill", "Completed", r"init: epoch \d, training loss", r"1_\d: finished after")

    def all_shown() -> bool:
        """The page fills itself bit by bit, on a busy machine later than Chromium looks."""
        dump = subprocess.run([*command, "--dump-dom", page], capture_output=True, text=True, timeout=120, check=True)
        absent = [text for text in shown if not re.search(text, dump.stdout)]
        log.write_text(f"{page} does not show {absent}")
        return not absent

    wait_for(all_shown, 180, log)
    picture = site.folder / "page.png"
    subprocess.run([*command, f"--screenshot={picture}", page], capture_output=True, timeout=120, check=True)
    assert picture.stat().st_size > 50_000
    tables = site.post("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run["id"]]}}})
    assert {one["key"] for one in tables} == {"cycle-1", "summary", "history", "stages"}
