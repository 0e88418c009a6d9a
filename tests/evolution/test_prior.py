from collections import Counter

import numpy as np
import pytest

import miha
from miha import plan
from miha.errors import ConfigError, RunError
from miha.evolution.change import UNCHANGED, Change
from miha.evolution.prior import Tally, kind_of
from miha.records.tables import read_prior, read_tables
from tests.support.runs import contents

LOWER = Change(operator="lr", target="lr", before=0.001, after=0.0005)
FOCAL = Change(operator="loss", target="loss", before="mse", after="focal")


def test_a_change_is_counted_by_its_operator_and_its_direction():
    tally = Tally.of([(LOWER, True), (LOWER, False), (FOCAL, True), (UNCHANGED, False)])
    assert tally.tries == {"loss": 1, "loss/focal": 1, "lr": 2, "lr/down": 2}
    assert (tally.mean("lr"), tally.mean("momentum")) == (0.5, 0.5)
    assert (tally + tally).wins == {"loss": 2, "loss/focal": 2, "lr": 2, "lr/down": 2}
    assert kind_of(LOWER.model_copy(update={"before": "0.001", "after": "0.005"})) == "lr/up", "a table holds text"


def test_what_won_often_has_most_turns_and_nothing_none():
    tally = Tally(wins={"lr": 9}, tries={"lr": 10, "loss": 10})
    rng = np.random.default_rng(0)
    turns = Counter(tally.draw({"lr": 1.0, "loss": 1.0, "momentum": 1.0}, rng) for _ in range(500))
    assert turns["lr"] > turns["momentum"] > turns["loss"]


def crossed(run):
    return int(read_tables(run.run_dir)[1].crossed.sum())


def test_a_run_with_a_prior_draws_what_won_before_and_repeats_its_bits(tiny_config):
    first = miha.optimize(tiny_config("first"))
    tally = read_prior([first.run_dir])
    assert sum(tally.tries[name] for name in tally.tries if "/" not in name) == 2 * 3 - crossed(first)
    prior = {"prior": [first.run_dir]}
    runs = [miha.optimize(tiny_config(name, search=prior, seed=1)) for name in ("second", "third")]
    assert contents(runs[0].run_dir) == contents(runs[1].run_dir)
    without = miha.optimize(tiny_config("fourth", seed=1))
    drawn = [read_tables(run.run_dir)[1].change.tolist() for run in (runs[0], without)]
    assert drawn[0] != drawn[1]


def test_a_prior_that_is_no_run_is_named(tiny_config, tmp_path):
    with pytest.raises(ConfigError, match=r"search.prior: .*nothing holds no history.csv"):
        miha.optimize(tiny_config(search={"prior": [tmp_path / "nothing"]}))


def test_experience_draws_directions_and_is_part_of_what_decides_a_run(tiny_config, monkeypatch):
    search = {"experience": True, "operators": {"lr": 1.0, "batch_size": 1.0}}
    known = Tally(wins={"lr/up": 99, "batch_size/down": 99}, tries=dict.fromkeys(("lr/up", "batch_size/down"), 99))
    monkeypatch.setattr(plan, "EXPERIENCE", known)
    config = tiny_config("first", search=search, schedule={"cycles": 1})
    run = miha.optimize(config)
    drawn = run.population[run.population.operator != ""]
    assert {kind_of(Change(operator=one.operator, before=one.before, after=one.after)) for one in drawn.itertuples()} == {
        "lr/up", "batch_size/down"
    }  # fmt: skip
    assert miha.optimize(config).run_dir == run.run_dir
    monkeypatch.setattr(plan, "EXPERIENCE", Tally(wins={"lr/up": 1}, tries={"lr/up": 1}))
    with pytest.raises(RunError, match="another configuration"):
        miha.optimize(config)
