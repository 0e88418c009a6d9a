import pytest
import torch

from miha.problems.evaluation import to_device, validate
from miha.problems.problem import Problem
from miha.problems.samples import Batch, Data, Samples, batch_sizes, correct
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
    assert [batch.target.tolist() for batch in samples.batches(3, order)] == [[9, 8, 7], [6, 5, 4], [3, 2, 1, 0]]


@pytest.mark.parametrize(("samples", "sizes"), [(1, [1]), (4, [4]), (5, [5]), (6, [4, 2]), (9, [4, 5])])
def test_a_single_sample_that_is_left_joins_the_batch_before(samples, sizes):
    assert batch_sizes(samples, 4) == sizes
    inputs = torch.arange(float(samples))[:, None]
    assert [len(batch.inputs) for batch in Samples(inputs, inputs).batches(4)] == sizes


def test_the_shape_of_an_input_is_that_of_one_sample():
    samples = Samples(torch.zeros(5, 3, 8, 9), torch.zeros(5))
    assert Data(samples, samples).input_shape == (3, 8, 9)


def test_right_classifications_are_counted():
    output = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert float(correct(output, Batch(output, torch.tensor([1, 1, 1])))) == 2


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [1, 2, 99])
def test_blocks_are_handed_out_one_after_another_and_no_batch_holds_two(size, masked):
    inputs = torch.arange(10.0)[:, None]
    samples = Samples(inputs, inputs[:, 0] + 1, inputs + 2 if masked else None, blocks=[3, 1, 6])
    found = list(samples.by_block(size))
    assert torch.equal(torch.cat([batch.inputs for _, batch in found]), inputs)
    assert torch.equal(torch.cat([batch.target for _, batch in found]), inputs[:, 0] + 1)
    assert all((batch.mask is not None) == masked for _, batch in found)
    if masked:
        assert torch.equal(torch.cat([batch.mask for _, batch in found]), inputs + 2)
    assert all(len(batch.inputs) <= size for _, batch in found)
    blocks = [number for number, batch in found for _ in batch.inputs]
    assert blocks == [0] * 3 + [1] + [2] * 6


@pytest.mark.parametrize("number", [1, 7, 20, 21, 50])
def test_samples_that_say_nothing_are_20_blocks_of_about_equal_size(number):
    blocks = Samples(torch.zeros(number, 1), torch.zeros(number)).blocks
    assert len(blocks) == min(number, 20)
    assert sum(blocks) == number
    assert max(blocks) - min(blocks) <= 1


def test_the_share_of_a_block_is_what_its_samples_add_to_the_mean_loss():
    problem = TinyProblem()
    inputs, target, _ = problem.load("", 0).valid.tensors
    network, blocks = problem.build_network(), [5, 20, 15]
    validated = validate(network, problem, Samples(inputs, target, blocks=blocks))
    with torch.no_grad():
        errors = (network.eval()(inputs) - target).square()
    assert validated.shares == pytest.approx([float(part.sum()) / 40 for part in errors.split(blocks)], rel=1e-5)
    assert sum(validated.shares) == pytest.approx(validated.loss, rel=1e-12)


def test_how_samples_are_divided_into_blocks_changes_no_mean():
    problem = TinyProblem()
    inputs, target, _ = problem.load("", 0).valid.tensors
    network = problem.build_network()
    one, many = (validate(network, problem, Samples(inputs, target, blocks=sizes)) for sizes in ([40], [1] * 40))
    assert one[:2] == pytest.approx(many[:2], rel=1e-6)
    assert one.shares == (one.loss,)


def test_a_mean_over_samples_does_not_depend_on_how_they_are_batched(monkeypatch):
    problem, samples = TinyProblem(), TinyProblem().load("", 0).train
    network = problem.build_network()
    whole = validate(network, problem, samples)
    monkeypatch.setattr("miha.problems.evaluation.EVALUATION_BATCH", 2)  # blocks are of 3 or 4
    again = validate(network, problem, samples)
    assert again[:2] == pytest.approx(whole[:2], rel=1e-6)
    assert again.shares == pytest.approx(whole.shares, rel=1e-6)
    inputs, target, _ = samples.tensors
    with torch.no_grad():
        error = network.eval()(inputs) - target
    assert whole[:2] == pytest.approx((float(error.square().mean()), float(error.abs().mean())), rel=1e-5)


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
