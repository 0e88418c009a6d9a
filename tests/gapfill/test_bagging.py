import pytest
import torch

from miha.errors import ConfigError
from miha.gapfill.problem import GapFill
from miha.problems.samples import Batch


def test_each_network_is_judged_where_its_mask_counts():
    mask = torch.zeros(1, 2, 2, 2)
    mask[0, 0, 0], mask[0, 1, 1, 1] = 1, 1
    batch = Batch(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2), mask)
    output = torch.stack([torch.full((1, 2, 2), 3.0), torch.full((1, 2, 2), 5.0)], dim=1)
    loss, count = GapFill(members=2).losses(output, batch)
    assert (float(loss), float(count)) == (2 * 3.0 + 5.0, 3.0)


def test_networks_are_validated_by_the_mean_of_those_that_did_not_learn_from_a_day():
    mask = torch.ones(1, 3, 2, 2) * torch.tensor([1.0, 1.0, 0.0]).view(1, 3, 1, 1)
    mask[..., 1, 1] = 0
    batch = Batch(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2), mask)
    output = torch.tensor([3.0, -1.0, 100.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    loss, error, count = GapFill(members=3, loss="mse").validation(output, batch)
    assert (float(loss), float(error), float(count)) == (3 * 1.0, 3 * 1.0, 3.0)


@pytest.mark.parametrize("judge", [GapFill.losses, GapFill.validation])
def test_maps_of_another_number_of_networks_than_learn_are_refused(judge):
    batch = Batch(torch.zeros(1, 1, 2, 2), torch.zeros(1, 2, 2), torch.ones(1, 4, 2, 2))
    with pytest.raises(ConfigError, match=r"shape \(1, 2, 2\), not \(4, 2, 2\)"):
        judge(GapFill(), torch.zeros(1, 2, 2), batch)
