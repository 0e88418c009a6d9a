"""The numbers of the Gaussian process's kernel: learned on gaps pasted on history days, and judged on other data sets.

``python -m bench.kernel DATA DATA …`` learns from each data set, and fills pasted gaps of each with the numbers that
the *other* sets taught: nothing of a set decides how it is filled. It ends with the numbers of all sets together, which
``miha/gapfill/kernel.py`` holds as ``LEARNED``. No day of ``truth/`` is read.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from bench.results import Result, Results, table
from miha.gapfill.base import blend
from miha.gapfill.cases import Case, pasted_case
from miha.gapfill.days import clear_days
from miha.gapfill.features import Features
from miha.gapfill.filler import BaseFiller
from miha.gapfill.guess import guess_scene
from miha.gapfill.judging import baselines
from miha.gapfill.kernel import Kernel, covariance
from miha.gapfill.process import centre_and_spread, fill_by_process
from miha.gapfill.regressions import GuessSettings
from miha.threads import fixed_threads, usable_cores

STEPS, RATE, SCENES = 100, 0.06, 2  # of Adam, its learning rate, and scenes in a step
VISIBLE, HIDDEN = 900, 300  # pixels of a scene in a step
START = Kernel(0.3, 0.1, 0.1, 0.3, 30.0, 0.1, 3.0, 0.1, 3.0, 0.1, 6.0, 0.05, 30.0, 0.02)
METHODS = ("mean_plus_offset", "ridge", "trees", "guess", "process", "base")


def cases(data: Path, number: int) -> Iterator[tuple[int, Case, Features]]:
    """Gaps pasted on the clear days of a history in turn, with the features of the days that are left."""
    filler = BaseFiller(data)
    assert filler.history is not None
    assert filler.static is not None
    days = clear_days(filler.history.values)
    for gap in range(number):
        case = pasted_case(filler.history, int(days[gap % len(days)]), gap, filler.static)
        yield gap, case, Features.of(case.background, case.static)


def learn(data: Path, number: int) -> Result:
    """The numbers that fill pasted gaps of a data set with the least absolute error, in deviations of the scene."""
    logarithms = {name: torch.tensor(math.log(value), requires_grad=True) for name, value in asdict(START).items()}
    optimizer = torch.optim.Adam(logarithms.values(), lr=RATE)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    rng, known = np.random.default_rng(0), [(case, features) for _, case, features in cases(data, number)]
    with fixed_threads(1):
        for _ in range(STEPS):
            chosen = [known[one] for one in rng.choice(len(known), SCENES, replace=False)]
            loss = torch.stack([_error(logarithms, *one, rng) for one in chosen]).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(logarithms.values(), 1.0)
            optimizer.step()
            falling.step()
    return {"kernel": {name: math.exp(float(value.detach())) for name, value in logarithms.items()}}


def _error(logarithms: dict[str, Tensor], case: Case, features: Features, rng: np.random.Generator) -> Tensor:
    kernel = Kernel(**{name: value.exp() for name, value in logarithms.items()})  # type: ignore[arg-type]
    departure = (case.truth - case.background.level).ravel()
    visible, hidden = (
        np.sort(rng.choice(found, min(most, len(found)), replace=False))
        for found, most in ((np.flatnonzero(~np.isnan(case.scene)), VISIBLE), (np.flatnonzero(case.hidden), HIDDEN))
    )
    median, deviation = centre_and_spread(departure[~np.isnan(case.scene).ravel()])
    standardised = torch.from_numpy((departure - median) / deviation).float()
    pixels = features.weighed(kernel)
    there, asked = pixels[torch.from_numpy(visible)], pixels[torch.from_numpy(hidden)]
    root = torch.linalg.cholesky(covariance(kernel, there, there) + (kernel.noise + 1e-4) * torch.eye(len(visible)))
    weights = torch.cholesky_solve(standardised[visible][:, None], root)
    return (covariance(kernel, asked, there) @ weights - standardised[hidden][:, None]).abs().mean()


def together(kernels: Sequence[dict[str, float]]) -> Kernel:
    """Geometric means of the numbers of several data sets."""
    return Kernel(**{one.name: math.exp(np.mean([math.log(k[one.name]) for k in kernels])) for one in fields(Kernel)})


def judge(data: Path, number: int, kernel: Kernel) -> Result:
    """Mean absolute errors on pasted gaps."""
    errors: dict[str, list[float]] = {method: [] for method in METHODS}
    days = []
    for gap, case, features in cases(data, number):
        process = fill_by_process(case.scene, case.background, features, np.random.default_rng(gap), kernel)
        rng = np.random.default_rng(gap)
        guess = guess_scene(case.scene, case.background, case.static, GuessSettings(), rng).value
        base = blend(process.mean, guess, process.calibration)
        maps = {**baselines(case, base), "guess": guess, "process": process.mean}
        for method in METHODS:
            errors[method].append(case.error(maps[method]))
        days.append(case.day.isoformat())
    return {
        **{method: float(np.mean(values)) for method, values in errors.items()},
        "errors": errors,
        "days": days,
    }


def rows_of(kept: Results) -> str:
    """A table of errors, a column for each data set, and the numbers that all of them teach."""
    results = kept.results
    measured = {name: by_seed["0"] for name, by_seed in results.items() if METHODS[0] in by_seed["0"]}
    rows = [[method, *(f"{one[method]:.3f}" for one in measured.values())] for method in METHODS]
    against = []
    for one in measured.values():
        difference = np.subtract(one["errors"]["base"], one["errors"]["guess"])
        against.append(f"{difference.mean():+.3f} ± {difference.std() / math.sqrt(len(difference)):.3f}")
    rows.append(["base - guess, ± standard error", *against])
    taught = together([by_seed["0"]["kernel"] for by_seed in results.values() if "kernel" in by_seed["0"]])
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in asdict(taught).items())
    gaps = len(next(iter(measured.values()))["days"])
    return table([f"{gaps} pasted gaps", *measured], rows) + f"\n\nNumbers of all: {numbers}."


def main(
    data: Annotated[list[Path], typer.Argument(help="data sets: history/ static/; two or more")],
    gaps: Annotated[int, typer.Option(min=4, help="gaps pasted on each data set")] = 60,
    processes: Annotated[int, typer.Option(min=1, help="side by side")] = usable_cores(),
    fresh: Annotated[bool, typer.Option(help="forget the results of an earlier call")] = False,
) -> None:
    """Learn the kernel's numbers on each data set and judge them on the others; print those of all."""
    names = [one.name for one in data]
    settings = {"gaps": gaps, "steps": STEPS, "visible": VISIBLE, "hidden": HIDDEN, "data": names}
    kept = Results("kernel", settings, fresh)
    kept.each([(f"{one.name} teaches", 0, partial(learn, one, gaps)) for one in data], processes)
    taught = {name: kept.results[f"{name} teaches"]["0"]["kernel"] for name in names}
    others = {name: together([taught[other] for other in names if other != name]) for name in names}
    kept.each(
        [(name, 0, partial(judge, one, gaps, others[name])) for one, name in zip(data, names, strict=True)], processes
    )
    kept.publish(rows_of(kept))


if __name__ == "__main__":
    typer.run(main)
