import pytest
import torch
from torch import nn

from miha.evolution.hyperparameters.activation import find_activations
from miha.evolution.hyperparameters.dropout import find_dropouts
from miha.gapfill.problem import GapFill


@pytest.mark.parametrize("network", ["unet", "autoencoder"])
def test_the_output_layer_may_change_only_to_activations_of_both_signs_without_an_upper_bound(simulated, network):
    problem = GapFill(data=simulated, network=network)
    layers = problem.layers(problem.build_network())
    output = "output_activation" if network == "unet" else "layer4.1"
    offered = set(layers[output]) - {"ReLU"}  # in place in the autoencoder
    assert {"Identity", "ELU", "LeakyReLU"} <= offered
    for name in offered:
        low, high = getattr(nn, name)()(torch.tensor([-1.0, 5.0]))
        assert low < 0, name
        assert high > 4, name
    hidden = next(layer for layer in layers if layer != output)
    assert {"Sigmoid", "Tanh", "GELU", "Mish"} <= set(layers[hidden])


def test_the_articles_autoencoder_has_its_four_convolutions_and_keeps_any_size(simulated):
    network = GapFill(data=simulated, network="autoencoder").build_network()
    shapes = [tuple(weight.shape) for name, weight in network.named_parameters() if name.endswith("weight")]
    assert shapes == [(16, 1, 2, 2), (32, 16, 2, 2), (16, 32, 2, 2), (1, 16, 2, 2)]
    assert set(find_activations(network).values()) == {"ReLU"}
    for size in ((110, 88), (109, 62), (33, 34)):
        assert network(torch.zeros(2, 1, *size)).shape == (2, *size)


def test_an_untrained_unet_answers_with_the_base(problem):
    network = problem.build_network()
    assert (network(torch.randn(1, network.encoder[0][0].in_channels, 20, 31)) == 0).all()


def test_the_last_layer_of_the_unet_sees_its_inputs(problem):
    network = problem.build_network()
    inputs = torch.randn(2, network.encoder[0][0].in_channels, 20, 31)
    with torch.no_grad():
        network.head.weight[0, 3] = 0.5
    assert torch.allclose(network(inputs), 0.5 * inputs[:, 3])


def test_the_unet_has_its_dropout_behind_all_batch_norms(problem):
    network = problem.build_network()
    assert find_dropouts(network) == {"dropout": 0.0}
    assert [name for name, _ in network.named_children()][-3:] == ["dropout", "head", "output_activation"]
