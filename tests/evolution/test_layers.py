"""What hyperparameters do to a network: its activations and its dropout layers, wherever they sit."""

import pytest
import torch
from torch import nn

from miha.evolution.hyperparameters.activation import ACTIVATIONS, find_activations, set_activations
from miha.evolution.hyperparameters.dropout import find_dropouts, set_dropout
from tests.support.tiny import TinyNet


def test_activations_are_found_at_every_depth_and_a_shared_one_under_its_first_path():
    assert find_activations(TinyNet()) == {"body.first.1": "ReLU", "act": "Tanh"}


def test_a_class_of_the_users_own_is_no_activation_whatever_its_name():
    own = type("ReLU", (nn.Module,), {"forward": lambda self, inputs: inputs})
    assert find_activations(nn.Sequential(own(), nn.ReLU())) == {"1": "ReLU"}


def test_a_shared_activation_is_replaced_under_all_its_paths_by_one_module():
    network = TinyNet()
    former = network.act
    set_activations(network, {"act": "GELU"})
    assert type(network.act) is nn.GELU
    assert network.same is network.act
    assert former not in list(network.modules())


def test_a_network_with_a_shared_activation_computes_with_the_new_one_alone():
    network = TinyNet().eval()
    set_activations(network, {"act": "Identity", "body.first.1": "Identity"})
    inputs = torch.tensor([[1.0, -2.0]])
    with torch.no_grad():
        assert torch.allclose(
            network(2 * inputs) - network(inputs), network(3 * inputs) - network(2 * inputs), atol=1e-5
        )
    set_activations(network, {"act": "ReLU"})
    assert type(network.same) is nn.ReLU


def test_an_activation_of_the_same_kind_stays_the_very_module():
    network = TinyNet()
    before = [network.body["first"][1], network.act]
    set_activations(network, {"body.first.1": "ReLU", "act": "Tanh"})
    assert [network.body["first"][1], network.act] == before
    set_activations(network, {"act": "ReLU"})
    assert network.body["first"][1] is before[0], "another layer is left alone"


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_that_is_known_can_be_set_and_is_then_found(name):
    network = TinyNet()
    set_activations(network, {"body.first.1": name})
    assert find_activations(network)["body.first.1"] == name
    assert network(torch.zeros(3, 2)).shape == (3,)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_transformer_computes_alike_with_and_without_gradients_whatever_its_activation():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation=nn.ReLU(), batch_first=True)
    network = nn.TransformerEncoder(layer, 2).eval()
    written, padded = torch.rand(3, 5, 8), torch.arange(5).expand(3, 5) >= torch.tensor([[5], [4], [4]])
    for name in ("ReLU", "Tanh", "GELU", "Identity", "GELU+Tanh#2"):
        set_activations(network, {"layers.0.activation": name})
        with_gradients = network(written, src_key_padding_mask=padded)[:, :4]
        with torch.no_grad():
            without = network(written, src_key_padding_mask=padded)[:, :4]
        assert torch.allclose(with_gradients, without, atol=1e-5), name


def test_dropout_is_found_and_set_in_every_layer_or_left_as_written():
    network = nn.Sequential(nn.Dropout(0.1), nn.Sequential(nn.Dropout2d(0.3)), nn.ReLU())
    set_dropout(network, None)
    assert find_dropouts(network) == {"0": 0.1, "1.0": 0.3}
    set_dropout(network, 0.0)
    assert find_dropouts(network) == {"0": 0.0, "1.0": 0.0}
