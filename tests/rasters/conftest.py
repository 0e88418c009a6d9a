import numpy as np
import pytest


@pytest.fixture
def days():
    """Ten days: a pattern of pixels, an offset of each day, and a second pattern of changing strength."""
    rng = np.random.default_rng(0)
    pattern, contrast = rng.random((2, 20, 24)) * 10
    offsets, strength = rng.normal(0, 5, (2, 10))
    return (pattern + offsets[:, None, None] + strength[:, None, None] * contrast / 5).astype(np.float32)
