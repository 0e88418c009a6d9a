import os
import subprocess
import sys

import pytest
import torch

from miha.experiment import Experiment
from miha.threads import fixed_threads, usable_cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_cores_are_those_that_the_process_is_bound_to(tiny_config):
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
        assert Experiment(tiny_config(run={"workers": None})).preparing_processes == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= usable_cores() <= os.cpu_count()


def test_threads_are_as_many_as_before_once_a_block_ends():
    before = torch.get_num_threads()
    with fixed_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_libraries_that_are_loaded_later_are_held_to_the_same_number():
    code = (
        "from miha.threads import library_threads\n"
        "from threadpoolctl import threadpool_info\n"
        "with library_threads(1): pass\n"
        "before = len(threadpool_info())\n"
        "import sklearn.linear_model\n"
        "with library_threads(1): found = [one['num_threads'] for one in threadpool_info()]\n"
        "assert len(found) > before and set(found) == {1}, (before, found)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "2"})
