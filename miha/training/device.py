"""Where to compute and in what numbers; resolved once, before the first stage, since both decide the last bits."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from miha.errors import RunError
from miha.problems import Problem

Precision = Literal["float32", "bfloat16"]


def resolve_device(wanted: Literal["auto", "cpu", "cuda"]) -> str:
    """``cpu`` or ``cuda``.

    Raises:
        RunError: a GPU is asked for where there is none.
    """
    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise RunError("run.device is cuda, but PyTorch sees no GPU here. Set run.device to cpu or auto.")
    return "cuda" if present and wanted != "cpu" else "cpu"


def resolve_precision(wanted: Literal["auto", "float32", "bfloat16"], device: str, problem: Problem) -> Precision:
    """What training computes in; ``auto`` is bfloat16 where problem and processor are made for it."""
    if wanted != "auto":
        return wanted
    if device == "cuda":
        able = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        able = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if problem.mixed_precision and able else "float32"


@contextmanager
def reproducible(device: str) -> Iterator[None]:
    """Inside the block let CUDA take kernels that give the same bits each time, where it has any, and no TF32.

    So float32 is what it says. A CPU needs none of this.
    """
    if device == "cpu":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when it is first used
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
