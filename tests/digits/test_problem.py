import numpy as np
import pytest
import torch

import miha
from miha.digits.files import read_idx, to_tensors
from miha.digits.problem import ARTICLE_DIGITS, FILES, TEST_FILES, Mnist
from miha.errors import DataError
from miha.evolution.hyperparameters.dropout import find_dropouts
from miha.problems.evaluation import trained_network
from miha.problems.samples import Batch
from miha.records.archive import read_archive
from miha.report.evaluate import evaluate


def test_the_network_is_the_articles_784_400_10(digits):
    problem = Mnist(data=digits)
    assert sum(weight.numel() for weight in problem.build_network().parameters()) == 784 * 400 + 400 + 400 * 10 + 10
    layers = problem.layers(problem.build_network())
    assert set(layers) == {"layer1.1"}, "the loss takes logarithms of probabilities, so the output layer stays"


def test_validation_is_drawn_from_the_training_digits_and_by_seed(digits):
    one, again, other = (Mnist(data=digits, samples=200).load(digits, seed) for seed in (0, 0, 1))
    assert (len(one.train), len(one.valid)) == (160, 40)
    assert torch.equal(one.valid.tensors.inputs, again.valid.tensors.inputs)
    assert not torch.equal(one.valid.tensors.inputs, other.valid.tensors.inputs)
    assert len(Mnist(data=digits).test()) == 100


def test_the_same_algorithm_trains_it_and_evaluate_tells_its_accuracy(digits, tmp_path):
    schedule = {"initial_epochs": 3, "cycles": 1, "population_size": 3, "candidate_epochs": 1, "fixing_epochs": 1}
    problem = Mnist(data=digits, samples=300, hidden=20)
    run = miha.optimize(
        miha.RunConfig(run_dir=tmp_path / "run", problem=problem, run={"workers": 1}, schedule=schedule)
    )
    assert run.history.accuracy.between(0, 1).all()
    metrics, judgement = evaluate(tmp_path / "run", digits, against=tmp_path / "run")
    assert metrics["accuracy"] > 0.9
    assert metrics["methods"]["run"]["accuracy"] == metrics["accuracy"]
    assert judgement.table.to_dict() == {
        name: {"accuracy": metrics["accuracy"], "accuracy_first_500": metrics["accuracy_first_500"]}
        for name in ("run", "miha")
    }
    assert (judgement.title, judgement.lower_is_better) == ("accuracy", False)


def test_dropout_leaves_the_names_of_the_weights_and_costs_nothing_at_0(digits):
    network = Mnist(data=digits).build_network()
    assert set(network.state_dict()) == {"layer1.0.weight", "layer1.0.bias", "layer2.0.weight", "layer2.0.bias"}
    assert find_dropouts(network) == {"layer1.2": 0.0}
    inputs = torch.randn(3, 784)
    assert torch.equal(network.train()(inputs), network.eval()(inputs))


def test_training_starts_on_the_loss_that_validates(digits):
    problem = Mnist(data=digits)
    assert problem.offered_losses() == ("cross_entropy", "label_smoothing", "focal")
    batch = Batch(*problem.load(digits, 0).train.tensors)
    output = problem.build_network()(batch.inputs).detach()
    loss, count = problem.training_loss(output, batch, "cross_entropy")
    assert (float(loss), count) == pytest.approx(tuple(map(float, problem.losses(output, batch))))


def test_images_without_as_many_labels_are_refused(digits):
    (digits / TEST_FILES[1]).replace(digits / FILES[1])
    with pytest.raises(DataError, match=r"has 300 images but 100 labels\. Fetch the digits again"):
        Mnist(data=digits).load(digits, 0)


def test_accuracy_is_taken_on_the_test_digits_and_on_the_first_500_of_them(digits, tmp_path, write_digits):
    write_digits(digits, *TEST_FILES, 700, 1)
    schedule = {"initial_epochs": 1, "cycles": 0, "final_epochs": 1}
    problem = Mnist(data=digits, samples=100, hidden=5)
    run = miha.optimize(
        miha.RunConfig(run_dir=tmp_path / "run", problem=problem, run={"workers": 1}, schedule=schedule)
    )
    inputs, labels = to_tensors(*(read_idx(digits / file) for file in TEST_FILES))
    with torch.inference_mode():
        right = (trained_network(problem, read_archive(run.model))(inputs).argmax(1) == labels).numpy()
    assert 0.1 < right.mean() < 0.9
    metrics = problem.judge({"miha": run.model}, tmp_path, 0).metrics
    assert metrics["accuracy"] == pytest.approx(right.mean())
    assert metrics["accuracy_first_500"] == pytest.approx(np.mean(right[:ARTICLE_DIGITS]))
    assert metrics["accuracy_first_500"] != metrics["accuracy"]
