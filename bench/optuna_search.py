"""Optuna: many trainings, of which the best is kept. The epochs of all trials count, pruned ones too."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from torch import nn

from bench.results import Result
from bench.steered import Space, Steered
from miha import Mnist, RunConfig
from miha.threads import fixed_threads
from miha.training.loop import Span

Drawn = Callable[[optuna.Trial, RunConfig], Steered]


class LayeredDigits(Mnist):
    """The digits, seen by a network of any number of hidden layers, each with dropout."""

    units: tuple[int, ...] = (400,)
    dropouts: tuple[float, ...] = (0.0,)

    def build_network(self) -> nn.Module:
        sizes, layers = (28 * 28, *self.units), list[nn.Module]()
        for before, after, dropout in zip(sizes, self.units, self.dropouts, strict=False):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        return nn.Sequential(*layers, nn.Linear(sizes[-1], 10), nn.LogSoftmax(dim=1))


def layered(trial: optuna.Trial, config: RunConfig) -> Steered:
    """The article's space: layers, units, dropout, optimizer, learning rate; as in Optuna's PyTorch example, wider."""
    units, dropouts = [], []
    for number in range(trial.suggest_int("layers", 1, 3)):
        units.append(trial.suggest_int(f"units_{number}", 16, 512, log=True))
        dropouts.append(trial.suggest_float(f"dropout_{number}", 0.0, 0.5))
    optimizer = trial.suggest_categorical("optimizer", ["Adam", "RMSprop", "SGD"])
    start = {"optimizer": optimizer, "lr": trial.suggest_float("lr", 1e-5, 1e-1, log=True)}
    digits = config.problem.model_dump(include={"data", "samples"})
    config = RunConfig.model_validate(
        {
            **config.model_dump(exclude={"problem", "start"}),
            "problem": LayeredDigits(**digits, units=tuple(units), dropouts=tuple(dropouts)),
            "start": {**start, "batch_size": config.start.batch_size},
        }
    )
    return Steered(config, Space.of(config).start, trial.number)


def ours(trial: optuna.Trial, config: RunConfig) -> Steered:
    """What MIHA may change of the run's own network."""
    space, setting = Space.of(config), dict[str, Any]()
    for key, one in space.numbers.items():
        suggest = trial.suggest_int if one.whole else trial.suggest_float
        setting[key] = suggest(key, one.low, one.high, log=one.log)
    setting |= {key: trial.suggest_categorical(key, names) for key, names in space.choices.items()}
    return Steered(config, space.point(setting), trial.number)


def first(space: Drawn, config: RunConfig) -> list[dict[str, Any]]:
    """Where Optuna starts, as MIHA does: the run's own setting, with augmentation off and at half."""
    if space is layered:
        return [{"layers": 1, "units_0": 400, "dropout_0": 0.0, "optimizer": "Adam", "lr": 1e-3}]
    whole = Space.of(config)
    strengths = (0.0, 0.5) if "augmentation" in whole.numbers else (0.0,)
    return [whole.beginning(augmentation=strength) for strength in strengths]


def search(config: RunConfig, model: Path, trial_epochs: int, space: Drawn = ours) -> Result:
    """Spend a run's budget of epochs on trials, each annealed over its own; the one of lowest validation loss is kept.

    Args:
        config: of the run; its seed is that of the sampler, the weights and the order of samples.
        model: where the archive of the best is written.
        trial_epochs: epochs of a trial that is not pruned; the last gets what is left.
        space: draws what a trial trains.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=trial_epochs // 4)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=config.seed), pruner=pruner)
    for start in first(space, config):
        study.enqueue_trial(start)
    started, spent, best = time.perf_counter(), 0, float("inf")
    with fixed_threads(1):
        while spent < config.budget:
            trial = study.ask()
            candidate, last = space(trial, config), min(trial_epochs, config.budget - spent)
            loss = float("inf")
            for epoch in candidate.train(Span(1, last, annealing=True)):
                spent += 1
                loss = float("inf") if epoch.valid_loss is None or epoch.train_loss is None else epoch.valid_loss
                trial.report(loss, epoch.epoch)
                if epoch.epoch < last and trial.should_prune():
                    study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                    break
            else:
                failed = loss == float("inf")
                study.tell(trial, None if failed else loss, optuna.trial.TrialState.FAIL if failed else None)
                if loss < best:
                    best = loss
                    candidate.save(model)
            print(f"  trial {trial.number}: {spent}/{config.budget} epochs, loss {loss:.4f}", flush=True)
    return {
        "valid_loss": best,
        "epochs": spent,
        "seconds": time.perf_counter() - started,
        "trials": len(study.trials),
        "best": study.best_params,
    }
