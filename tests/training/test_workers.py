import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import CancelledError, wait

import pytest
from pebble import ProcessExpired

from miha.events import Counted, observed_by, publish
from miha.training.workers import compute_all, submit, working
from tests.support.processes import ROOT, environment


def count_to(number):
    for n in range(number):
        publish(Counted("numbers", n))


def test_a_process_that_dies_costs_its_own_call_alone():
    with working(2):
        dying, living = submit(signal.raise_signal, signal.SIGKILL), submit(abs, -2)
        assert isinstance(dying.exception(60), ProcessExpired)
        assert living.result(60) == 2


def test_workers_that_were_killed_while_they_had_nothing_to_do_are_replaced():
    with working(2):
        pids = {submit(os.getpid).result(60) for _ in range(6)}
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        time.sleep(1.0)
        assert submit(os.getpid).result(60) not in pids


def test_whoever_waits_for_a_pool_that_is_stopped_is_notified():
    with working(1):
        running, queued = submit(time.sleep, 600), submit(time.sleep, 600)
    with pytest.raises(CancelledError):
        running.result(10)
    assert wait([running, queued], timeout=10).done == {running, queued}


def test_what_a_worker_says_arrives_whole_where_the_one_who_watches_is_slow():
    heard = []

    def watch(event):
        time.sleep(0.005)
        heard.append(event.done)

    with observed_by(watch), working(1):
        submit(count_to, 200).result(60)
    assert heard == list(range(200))


WORK = """
from miha.training.workers import submit, working

if __name__ == "__main__":
    with working(1):
        print(submit(eval, "__import__('miha').__file__").result(60))
        print(submit(eval, "'torch' in __import__('sys').modules").result(60))
"""


def work(tmp_path, **more):
    """What a script prints that lies in a folder of its own, apart from the current one."""
    script = tmp_path / "scripts" / "work.py"
    script.parent.mkdir()
    script.write_text(WORK)
    call = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 120, "check": True}
    return subprocess.run([sys.executable, script], **call, env=environment(tmp_path / "home", **more)).stdout


def test_what_lies_in_the_current_folder_is_no_library_of_the_workers(tmp_path):
    (tmp_path / "miha").mkdir()
    (tmp_path / "miha" / "__init__.py").write_text("print('another miha')")
    assert work(tmp_path) == f"{ROOT / 'miha' / '__init__.py'}\nTrue\n"


def test_sockets_are_put_where_their_paths_are_short_enough(tmp_path):
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    assert work(tmp_path, TMPDIR=str(folder)) == f"{ROOT / 'miha' / '__init__.py'}\nTrue\n"
    assert list(folder.iterdir()) == []


def test_without_a_pool_work_is_done_right_here():
    assert submit(os.getpid).result(0) == os.getpid()
    assert multiprocessing.parent_process() is None


def test_named_work_tells_how_far_it_is():
    events = []
    with observed_by(events.append):
        assert compute_all(abs, [-1, -2, -3], work="numbers") == [1, 2, 3]
        assert compute_all(abs, [-1]) == [1]
    assert events == [Counted("numbers", done, 3) for done in (1, 2, 3)]


def test_the_server_that_was_warmed_up_forks_the_workers():
    script = (
        "import os; from pathlib import Path; from miha.training.workers import submit, warm_up, working\n"
        "warm_up(); children = Path(f'/proc/self/task/{os.getpid()}/children').read_text().split()\n"
        "with working(1):\n"
        "    print(str(submit(os.getppid).result(60)) in children)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert result.stdout.strip() == "True"
