import pytest
import torch

from miha.problems.evaluation import to_device, validate
from miha.problems.problem import Problem
from miha.problems.samples import Batch, Data, Samples, correct
from tests.support.tiny import TinyProblem


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [1, 4, 10, 99])
def test_every_sample_is_handed_out_once_in_the_order_asked_for(size, masked):
    inputs = torch.arange(10.0)[:, None]
    samples = Samples(inputs, inputs[:, 0] + 1, inputs + 2 if masked else None)
    assert len(samples) == 10
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    for asked, expected in ((None, torch.arange(10)), (order, order)):
        batches = list(samples.batches(size, asked))
        assert [len(batch.inputs) for batch in batches[:-1]] == [size] * (len(batches) - 1)
        assert torch.equal(torch.cat([batch.inputs for batch in batches])[:, 0], expected.float())
        assert torch.equal(torch.cat([batch.target for batch in batches]), expected + 1.0)
        if masked:
            assert torch.equal(torch.cat([batch.mask for batch in batches])[:, 0], expected + 2.0)
        else:
            assert all(batch.mask is None for batch in batches)


def test_large_samples_are_gathered_in_pieces_of_whole_batches():
    samples = Samples(torch.arange(10.0)[:, None].expand(10, 3 * 2**20), torch.arange(10))  # 12 MiB each
    order = torch.arange(10).flip(0)
    assert [batch.target.tolist() for batch in samples.batches(3, order)] == [[9, 8, 7], [6, 5, 4], [3, 2, 1], [0]]


def test_the_shape_of_an_input_is_that_of_one_sample():
    samples = Samples(torch.zeros(5, 3, 8, 9), torch.zeros(5))
    assert Data(samples, samples).input_shape == (3, 8, 9)


def test_right_classifications_are_counted():
    output = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert float(correct(output, Batch(output, torch.tensor([1, 1, 1])))) == 2


def test_a_mean_over_samples_does_not_depend_on_how_they_are_batched(monkeypatch):
    problem, samples = TinyProblem(), TinyProblem().load("", 0).train
    network = problem.build_network()
    whole = validate(network, problem, samples)
    monkeypatch.setattr("miha.problems.evaluation.EVALUATION_BATCH", 16)
    assert validate(network, problem, samples) == pytest.approx(whole, rel=1e-6)
    inputs, target, _ = samples.tensors
    with torch.no_grad():
        error = network.eval()(inputs) - target
    assert whole == pytest.approx((float(error.square().mean()), float(error.abs().mean())), rel=1e-5)


def test_inputs_take_the_order_in_memory_that_their_problem_wants():
    batch = Batch(torch.rand(2, 3, 4, 5), torch.zeros(2))
    last = to_device(batch, "cpu", channels_last=True).inputs
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, batch.inputs)
    assert to_device(batch, "cpu", channels_last=False).inputs is batch.inputs


def test_a_problem_has_nothing_but_what_it_must_say():
    """Its defaults: no preparation, no distortion, no other losses, no test samples, no pictures."""
    problem, batch = TinyProblem(), Batch(torch.zeros(1, 2), torch.zeros(1))
    assert Problem.augment(problem, batch, torch.zeros(1, 0)) is batch
    assert Problem.distort(problem, batch, torch.zeros(1, 0), 1.0) is batch
    assert (problem.stamp(), problem.offered_losses(), problem.test(), problem.extras("", 0)) == ("", (), None, {})
    assert problem.figures("") == {}
