import pytest
import torch
from torch import nn

from miha.evolution.hyperparameters.activation import find_activations
from miha.evolution.hyperparameters.dropout import find_dropouts
from miha.gapfill.problem import GapFill
from miha.gapfill.unet import UNet


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
        network.linear.weight[0, 3] = 0.5
    outputs = network(inputs)
    assert torch.allclose(outputs[:, 0], 0.5 * inputs[:, 3])
    assert (outputs[:, 1:] == 0).all()


@pytest.mark.parametrize("levels", [1, 3])
def test_unets_side_by_side_share_nothing_but_their_inputs(levels):
    torch.manual_seed(0)
    several, inputs = UNet(5, 4, levels, members=3), torch.randn(2, 5, 21, 30)
    for parameter in several.parameters():
        nn.init.normal_(parameter, std=0.3)
    outputs = several(inputs)
    for number, output in enumerate(outputs.unbind(1)):
        one = UNet(5, 4, levels)
        one.load_state_dict(
            {
                name: value if value.dim() == 0 else value.chunk(3)[number]
                for name, value in several.state_dict().items()
            }
        )
        assert torch.allclose(one(inputs)[:, 0], output, atol=1e-4)
    assert not torch.allclose(outputs[:, 0], outputs[:, 1], atol=0.1)


def test_the_unet_has_its_dropout_behind_all_batch_norms(problem):
    network = problem.build_network()
    assert find_dropouts(network) == {"dropout": 0.0}
    names = [name for name, _ in network.named_children()]
    assert names[-4] == "dropout"
    assert names[-3:] == ["head", "linear", "output_activation"]
