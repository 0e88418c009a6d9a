import torch
from torch import nn

from miha.digits.presenting import present_digits, wilson
from miha.problems.samples import Samples


class Reader(nn.Module):
    """Reads what the first pixels say."""

    def forward(self, images):
        return images.reshape(len(images), -1)[:, :10]


def test_a_presentation_tells_the_accuracy_and_draws_what_was_misread():
    images = torch.zeros(20, 1, 28, 28)
    target = torch.arange(20) % 10
    images.view(20, -1)[torch.arange(20), target] = 1.0
    target[:5] = (target[:5] + 1) % 10
    shown = present_digits(Reader(), Samples(images, target))
    assert shown.headline == "75.00 %"
    (plot,) = shown.plots
    assert plot.title == "5 of the 5 misread test digits"
    titles = [axes.get_title() for axes in plot.figure.axes]
    assert [title for title in titles if title] == [f"{number + 1} read as {number}" for number in range(5)]


def test_an_interval_of_a_share_holds_it_and_stays_below_one():
    low, high = wilson(75, 100)
    assert (round(low, 3), round(high, 3)) == (0.657, 0.825)  # Wilson's formula by hand
    assert wilson(10, 10)[1] <= 1
