import pytest

from miha.errors import ConfigError
from miha.training.spec import offer_of
from tests.support.tiny import TinyProblem


class Misnamed(TinyProblem):
    """Names the second path of a shared activation."""

    def layers(self, network):
        return {"same": ("ReLU", "Tanh")}


def test_a_layer_that_is_no_activation_of_the_network_is_told_with_those_that_are():
    with pytest.raises(ConfigError, match=r"names same, but the network's activations are body\.first\.1, act"):
        offer_of(Misnamed())
