import numpy as np
import pytest

from miha.gapfill.problem import GapFill
from tests.support.filling import small_run
from tests.support.scenes import SMALL


@pytest.fixture
def days():
    """Ten days: a pattern of pixels, an offset of each day, and a second pattern of changing strength."""
    rng = np.random.default_rng(0)
    pattern, contrast = rng.random((2, 20, 24)) * 10
    offsets, strength = rng.normal(0, 5, (2, 10))
    return (pattern + offsets[:, None, None] + strength[:, None, None] * contrast / 5).astype(np.float32)


@pytest.fixture(scope="session")
def run(simulated, tmp_path_factory):
    """A small finished run; tests must not change it."""
    return small_run(tmp_path_factory.mktemp("gapfill") / "run", {"data": simulated})


@pytest.fixture
def problem(simulated):
    """Gap filling with a tiny U-Net."""
    return GapFill(data=simulated, **SMALL)
