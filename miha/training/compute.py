"""Where to compute, in what numbers and on how many threads: all three decide the last bits of a result."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict

from miha.errors import RunError
from miha.problems.problem import Problem
from miha.threads import fixed_threads

WantedDevice = Literal["auto", "cpu", "cuda"]
WantedPrecision = Literal["auto", "float32", "bfloat16"]
Precision = Literal["float32", "bfloat16"]


class Compute(BaseModel):
    """What a stage computes with, resolved once before the first stage.

    Attributes:
        device: ``cpu`` or ``cuda``.
        precision: of training, ``bfloat16`` by autocast; validation is always in float32.
        threads: of the process.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: Literal["cpu", "cuda"] = "cpu"
    precision: Precision = "float32"
    threads: int = 1

    @classmethod
    def resolve(cls, device: WantedDevice, precision: WantedPrecision, threads: int, problem: Problem) -> "Compute":
        """What is wanted, with ``auto`` decided for this machine and problem.

        Raises:
            RunError: a GPU is asked for where there is none.
        """
        found = resolve_device(device)
        return cls(device=found, precision=resolve_precision(precision, found, problem), threads=threads)

    def autocast(self) -> AbstractContextManager[None]:
        """PyTorch's automatic mixed precision, or none for ``float32``."""
        return torch.autocast(self.device, torch.bfloat16) if self.precision == "bfloat16" else nullcontext()

    @contextmanager
    def reproducible(self) -> Iterator[None]:
        """The same bits each time inside the block, where the device can give them."""
        with fixed_threads(self.threads), _deterministic(self.device):
            yield


def resolve_device(wanted: WantedDevice) -> Literal["cpu", "cuda"]:
    """``cpu`` or ``cuda``.

    Raises:
        RunError: a GPU is asked for where there is none.
    """
    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise RunError("run.device is cuda, but PyTorch sees no GPU here. Set run.device to cpu or auto.")
    return "cuda" if present and wanted != "cpu" else "cpu"


def resolve_precision(wanted: WantedPrecision, device: str, problem: Problem) -> Precision:
    """What training computes in; ``auto`` is bfloat16 where problem and processor are made for it."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if problem.mixed_precision and bfloat16_is_fast(device) else "float32"


def bfloat16_is_fast(device: str) -> bool:
    """True if the device computes bfloat16 in hardware."""
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@contextmanager
def _deterministic(device: str) -> Iterator[None]:
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
