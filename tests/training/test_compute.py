"""Where a run computes. What needs a GPU runs where there is one."""

from pathlib import Path

import pytest
import torch

import miha
from miha.digits.problem import Mnist
from miha.errors import RunError
from miha.experiment import Experiment
from miha.gapfill.problem import GapFill
from miha.records.archive import read_archive
from miha.threads import usable_cores
from miha.training.compute import Compute, resolve_device, resolve_precision

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no GPU here")


@pytest.fixture
def seen_gpu(monkeypatch):
    """Let PyTorch say that there is a GPU; nothing is computed on it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused_when_asked_for_and_else_done_without():
    with pytest.raises(RunError, match=r"run\.device is cuda, but PyTorch sees no GPU"):
        resolve_device("cuda")
    assert resolve_device("auto") == "cpu"


def test_a_gpu_is_taken_unless_the_user_says_cpu(seen_gpu):
    assert [resolve_device(wanted) for wanted in ("auto", "cuda", "cpu")] == ["cuda", "cuda", "cpu"]


def test_bfloat16_is_chosen_for_images_where_the_device_computes_in_it(seen_gpu, monkeypatch):
    assert resolve_precision("auto", "cuda", GapFill()) == "float32", "a GPU that only emulates it"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert resolve_precision("auto", "cuda", GapFill()) == "bfloat16"
    assert resolve_precision("auto", "cuda", Mnist()) == "float32", "a small network gains nothing"
    assert resolve_precision("float32", "cuda", GapFill()) == "float32"


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the processor is known from /proc/cpuinfo")
def test_a_processor_computes_in_bfloat16_where_it_has_instructions_for_it():
    flags = Path("/proc/cpuinfo").read_text()
    able = "avx512_bf16" in flags or "amx_tile" in flags
    assert resolve_precision("auto", "cpu", GapFill()) == ("bfloat16" if able else "float32")
    assert resolve_precision("auto", "cpu", Mnist()) == "float32"
    assert resolve_precision("bfloat16", "cpu", Mnist()) == "bfloat16"


def test_candidates_have_a_gpu_one_at_a_time_unless_configured_otherwise(tiny_config, seen_gpu):
    def experiment(**run):
        return Experiment(tiny_config(run={"device": "cuda", **run}))

    assert experiment(workers=None).training_processes == 1
    assert experiment(workers=None).preparing_processes == usable_cores(), "samples are made by the processor"
    assert experiment(workers=3).training_processes == 3


@pytest.mark.parametrize("strict", [False, True])
def test_the_users_choice_of_algorithms_is_put_back(monkeypatch, strict):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(strict)
    try:
        with Compute(device="cuda").reproducible():
            assert torch.are_deterministic_algorithms_enabled()
            assert not torch.backends.cudnn.allow_tf32
        assert torch.are_deterministic_algorithms_enabled() == strict
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.use_deterministic_algorithms(False)


def test_what_is_computed_with_is_resolved_once_for_all_stages():
    wanted = Compute.resolve("cpu", "bfloat16", 2, Mnist())
    assert wanted == Compute(device="cpu", precision="bfloat16", threads=2)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_fixed_inside_the_block_and_put_back(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with Compute(threads=threads).reproducible():
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("precision", "expected"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_mixed_precision_is_switched_on_for_bfloat16_alone(precision, expected):
    with Compute(precision=precision).autocast():
        assert torch.nn.Linear(2, 2)(torch.zeros(1, 2)).dtype == expected


@needs_gpu
def test_a_run_on_a_gpu_leaves_archives_that_a_cpu_reads_and_the_same_bits_twice(tiny_config):
    runs = [miha.optimize(tiny_config(name, run={"device": "cuda"})) for name in ("one", "two")]
    one, two = (read_archive(run.model).weights for run in runs)
    for key, tensor in one.items():
        assert tensor.device.type == "cpu"
        assert torch.equal(tensor, two[key])


@needs_gpu
def test_a_gpu_trains_as_a_cpu_does_but_for_rounding(tiny_config):
    def losses(device):
        sections = {"run": {"device": device}, "start": {"dropout": 0.0}, "schedule": {"cycles": 0}}
        return miha.optimize(tiny_config(device, **sections)).history.valid_loss.tolist()

    assert losses("cpu") == pytest.approx(losses("cuda"), rel=1e-3)
