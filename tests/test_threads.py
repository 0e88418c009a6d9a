import os

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
