"""Optuna on the digits: many trainings, of which the best is kept. The epochs of all trials count, pruned ones too."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from bench.results import Result
from bench.runs import DIGITS_BATCH, count_parameters
from miha import Batch, Mnist, Samples
from miha.evolution.hyperparameters.activation import HIDDEN_ACTIVATIONS
from miha.evolution.hyperparameters.optimizer import OPTIMIZERS
from miha.evolution.point import Hyperparameters
from miha.evolution.seeds import torch_seed
from miha.problems.evaluation import configure
from miha.threads import fixed_threads
from miha.training.compute import Compute
from miha.training.loop import Span, Trainer, seeded
from miha.training.optimizers import build_optimizer

ACTIVATION = "layer1.1"  # the hidden one of the article's network


class SmoothedDigits(Mnist):
    """The digits with any amount of label smoothing in training; validation is what it always is."""

    smoothing: float = Field(0.0, ge=0, le=1)

    def training_loss(self, output: Tensor, batch: Batch, name: str | None) -> tuple[Tensor, int]:
        smoothed = functional.cross_entropy(output, batch.target, reduction="sum", label_smoothing=self.smoothing)
        return smoothed, len(output)


@torch.inference_mode()
def accuracies(network: nn.Module, test: Samples) -> Result:
    """Accuracy (0 to 1) on all test digits and on the first 500, and the number of parameters."""
    network.eval()
    right = (network(test.tensors.inputs).argmax(dim=1) == test.tensors.target).double()
    return {
        "accuracy": float(right.mean()),
        "accuracy_first_500": float(right[:500].mean()),
        "parameters": count_parameters(network),
    }


Candidate = tuple[Mnist, nn.Module, Hyperparameters]  # what to train, and how


def layered(trial: optuna.Trial, problem: Mnist, seed: int) -> Candidate:
    """The article's space: layers, units, dropout, optimizer, learning rate; as in Optuna's PyTorch example, wider."""
    layers: list[nn.Module] = []
    before = 28 * 28
    for number in range(trial.suggest_int("layers", 1, 3)):
        units = trial.suggest_int(f"units_{number}", 16, 512, log=True)
        layers += [nn.Linear(before, units), nn.ReLU(), nn.Dropout(trial.suggest_float(f"dropout_{number}", 0.0, 0.5))]
        before = units
    with seeded(torch_seed(seed, "weights", trial.number)):
        for layer in (*layers, last := nn.Linear(before, 10)):
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
    optimizer = trial.suggest_categorical("optimizer", ["Adam", "RMSprop", "SGD"])
    lr = trial.suggest_float("lr", 1e-5, 1e-1, log=True)
    point = Hyperparameters(optimizer=optimizer, lr=lr, batch_size=DIGITS_BATCH, activations={}, loss="cross_entropy")
    return problem, nn.Sequential(*layers, last, nn.LogSoftmax(dim=1)), point


def fixed(trial: optuna.Trial, problem: Mnist, seed: int) -> Candidate:
    """Our space: the article's network, and what MIHA may change about its training.

    Without the focal loss and beta2, but with any amount of label smoothing where MIHA has one.
    """
    optimizer = trial.suggest_categorical("optimizer", list(OPTIMIZERS))
    kind = OPTIMIZERS[optimizer]
    point = Hyperparameters(
        optimizer=optimizer,
        lr=kind.lr * trial.suggest_float("lr_factor", 0.03, 30.0, log=True),
        weight_decay=trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True),
        momentum=None if kind.momentum is None else trial.suggest_float("momentum", 0.5, 0.99),
        batch_size=trial.suggest_int("batch_size", 8, 200, log=True),
        activations={ACTIVATION: trial.suggest_categorical("activation", list(HIDDEN_ACTIVATIONS))},
        loss="cross_entropy",
        dropout=trial.suggest_float("dropout", 0.0, 0.5),
        augmentation=trial.suggest_float("augmentation", 0.0, 1.0),
    )
    smoothing = trial.suggest_float("smoothing", 0.0, 0.2)
    with seeded(torch_seed(seed, "weights", trial.number)):
        network = problem.build_network()
    configure(network, point)
    return SmoothedDigits(data=problem.data, samples=problem.samples, smoothing=smoothing), network, point


# Where Optuna starts, as MIHA does: the usual settings, augmentation off and at half.
_USUAL = {"optimizer": "Adam", "lr_factor": 1.0, "weight_decay": 1e-6, "momentum": 0.9, "batch_size": DIGITS_BATCH}
FIRST: dict[Callable[..., Candidate], list[dict[str, Any]]] = {
    layered: [{"layers": 1, "units_0": 400, "dropout_0": 0.0, "optimizer": "Adam", "lr": 1e-3}],
    fixed: [
        {**_USUAL, "activation": "ReLU", "dropout": 0.0, "augmentation": strength, "smoothing": 0.0}
        for strength in (0.0, 0.5)
    ],
}


def search(space: Callable[..., Candidate], problem: Mnist, seed: int, budget: int, trial_epochs: int) -> Result:
    """Spend a budget of epochs on trials, each annealed over its own, and test the one of lowest validation loss.

    Args:
        space: draws what a trial trains.
        problem: the digits.
        seed: of the sampler, the weights and the order of samples.
        budget: epochs of all trials together.
        trial_epochs: epochs of a trial that is not pruned; the last gets what is left.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=trial_epochs // 4)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed), pruner=pruner)
    for start in FIRST[space]:
        study.enqueue_trial(start)
    data, started, spent = problem.load(Path(), seed), time.perf_counter(), 0
    best: tuple[float, nn.Module | None] = (float("inf"), None)
    with fixed_threads(1):
        while spent < budget:
            trial = study.ask()
            candidate, network, point = space(trial, problem, seed)
            last = min(trial_epochs, budget - spent)
            trainer = Trainer(network, build_optimizer(network, point), candidate, data, point, seed, Compute())
            loss = float("inf")
            for epoch in trainer.epochs(Span(1, last, annealing=True)):
                spent += 1
                loss = float("inf") if epoch.valid_loss is None or epoch.train_loss is None else epoch.valid_loss
                trial.report(loss, epoch.epoch)
                if epoch.epoch < last and trial.should_prune():
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                    break
            else:
                study.tell(trial, loss) if loss < float("inf") else study.tell(
                    trial, state=optuna.trial.TrialState.FAIL
                )
                best = min(best, (loss, network), key=lambda pair: pair[0])
            print(f"  trial {trial.number}: {spent}/{budget} epochs, loss {loss:.4f}", flush=True)
        seconds = time.perf_counter() - started
        assert best[1] is not None, "no trial was trained to its end"
        tested = accuracies(best[1], problem.test())
    return {**tested, "epochs": spent, "seconds": seconds, "trials": len(study.trials), "best": study.best_params}
