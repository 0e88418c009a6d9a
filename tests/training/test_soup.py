import pytest
import torch

import miha
from miha import decisions
from miha.evolution.change import Change
from miha.problems.evaluation import trained_network, validate
from miha.records.archive import read_archive
from miha.records.lineage import lineage_frame
from miha.records.record import StageId
from miha.records.tables import count_epochs, read_tables
from miha.training import soup as soups
from tests.support.runs import watch
from tests.support.tiny import TinyProblem

SOUPS = {"soups": True, "own_orders": True}


def test_a_soup_is_the_mean_of_the_candidates_it_names_and_the_best_that_was_tried(tiny_config):
    run = miha.optimize(tiny_config(schedule=SOUPS))
    _, population = read_tables(run.run_dir)
    soup = population[population.members != ""].iloc[0]
    archive = read_archive(run.run_dir / f"population/{soup.cycle}_{soup.candidate}_model.zip")
    numbers = [int(number) for number in soup.members.split()]
    record = archive.manifest.record
    assert record.parents == tuple(StageId(kind="candidate", cycle=1, candidate=number) for number in numbers)
    members = [read_archive(parent.archive(run.run_dir)) for parent in record.parents]
    for name, tensor in archive.weights.items():
        assert torch.equal(tensor, torch.stack([member.weights[name] for member in members]).mean(0))
    assert archive.manifest.record.hyperparameters == members[0].manifest.record.hyperparameters
    assert archive.optimizer.keys() == members[0].optimizer.keys()
    problem = TinyProblem()
    loss = validate(trained_network(problem, archive), problem, problem.load(run.run_dir, 0).valid).loss
    assert loss == record.valid_loss


def test_a_soup_costs_no_epoch_and_the_lineage_goes_through_its_first_member(tiny_config):
    config = tiny_config(
        schedule={**SOUPS, "cycles": 4}, start={"lr": 0.03}, search={"operators": {"weight_decay": 1.0}}
    )
    run = miha.optimize(config)
    history, population = read_tables(run.run_dir)
    assert count_epochs(history) == config.budget
    won = population[population.selected & (population.members != "")]
    assert len(won), "the seed is chosen so that a soup wins"
    lineage = lineage_frame(history, population)
    assert sorted(lineage.epoch.unique()) == list(range(lineage.epoch.max() + 1))
    assert (lineage.stage == "soup").sum() == len(won)


@pytest.mark.parametrize("errors", [0.0, 1e6])
def test_of_soups_equal_within_the_noise_the_one_of_most_members_goes_on_in_place_of_the_fittest(
    tiny_config, monkeypatch, errors
):
    monkeypatch.setattr(soups, "ALIKE", errors)
    monkeypatch.setattr(decisions, "ALIKE", errors)
    config = tiny_config(schedule=SOUPS, fitness={"noise": errors}, search={"operators": {"lr": 1.0}})
    _, population = read_tables(miha.optimize(config).run_dir)
    for _, candidates in population.groupby("cycle"):
        soup = candidates.iloc[-1]
        members = [int(number) for number in soup.members.split()]
        fittest = candidates.set_index("candidate").loc[members[0]]
        assert soup.selected == (errors > 0 or soup.level >= fittest.level)
        assert len(members) == len(candidates) - 1 or errors == 0


def test_candidates_of_other_activations_are_left_out_and_reported(tiny_config):
    _, events = watch(tiny_config(schedule=SOUPS, search={"operators": {"activation": 1.0}}))
    messages = [
        event.line for event in events if getattr(event, "kind", "") == "message" and "activations" in event.line
    ]
    assert messages
    assert messages[0].startswith("cycle 1: not averaged, since activations differ: candidates ")


def test_siblings_see_orders_of_their_own_only_if_that_is_wanted(tiny_config):
    equal = {"search": {"operators": {"weight_decay": 1.0}}}  # without weights that matter, all curves are alike
    for own in (False, True):
        run = miha.optimize(tiny_config(f"own {own}", schedule={"own_orders": own, "cycles": 1}, **equal))
        losses = run.history[run.history.stage == "candidate"].groupby("candidate").train_loss.first()
        assert (losses.std() > 1e-3) == own


def test_a_change_of_a_soup_says_whose_mean_it_is():
    change = Change(operator="lr", target="lr", before=0.001, after=0.002, members=(2, 0))
    assert str(change) == "mean of 2, 0: lr 0.001→0.002"
    assert not change.drawn
