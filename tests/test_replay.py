import shutil

import pytest
import yaml
from torch import nn

import miha
from miha.errors import ConfigError
from miha.events import RunEnded
from miha.evolution.steps import read_steps
from miha.records.archive import read_archive
from miha.records.record import model_path
from miha.replay import along, replay_config
from tests.support.runs import contents, of_kind, watch
from tests.support.tiny import TinyProblem


class Smaller(TinyProblem):
    """Its network has no dropout."""

    def build_network(self):
        return nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1), nn.Flatten(0))


@pytest.fixture
def found(tiny_config):
    """A run in which changes won."""
    run = miha.optimize(tiny_config())
    assert any("set" in step for step in yaml.safe_load((run.run_dir / "schedule.yaml").read_text())[1:])
    return run


def weights(run, name):
    return {key: value.tolist() for key, value in read_archive(run.run_dir / f"model/model_{name}.zip").weights.items()}


def test_a_replay_with_the_same_seed_and_data_gives_the_bits_of_the_mainline_without_its_population(found, tmp_path):
    replayed = miha.optimize(replay_config(found.run_dir, tmp_path / "replay"))
    assert weights(replayed, "final") == weights(found, "final")
    assert not (replayed.run_dir / "population").exists()
    assert "No change of hyperparameters was tried" in (replayed.run_dir / "report.html").read_text()
    assert len(replayed.history) < len(found.history)
    assert replayed.history.epoch.tolist() == list(range(len(replayed.history)))


@pytest.mark.parametrize("options", [{"averaging": 1.0}, {"transition": 9}], ids=lambda options: next(iter(options)))
def test_each_epoch_of_a_replay_is_that_of_the_mainline_though_means_and_transitions_begin_with_a_stage(
    tiny_config, tmp_path, options
):
    operators = {"activation": 1.0, "neuron_activation": 1.0}
    run = miha.optimize(tiny_config(schedule=options, search={"operators": operators}, fitness={"noise": 0.0}))
    replayed = miha.optimize(replay_config(run.run_dir, tmp_path / "replay"))
    assert {*replayed.history.valid_loss} <= {*run.history.valid_loss}


def test_a_replay_needs_no_prior_of_its_run(found, tiny_config, tmp_path):
    earlier = shutil.copytree(found.run_dir, tmp_path / "earlier")
    run = miha.optimize(tiny_config("guided", search={"prior": [earlier]}))
    shutil.rmtree(earlier)
    replayed = miha.optimize(replay_config(run.run_dir, tmp_path / "replay"))
    assert weights(replayed, "final") == weights(run, "final")


def test_a_replay_starts_from_the_weights_that_its_run_started_from(found, tiny_config, tmp_path):
    run = miha.optimize(tiny_config("later", seed=1, pretrained=found.model))
    replayed = miha.optimize(replay_config(run.run_dir, tmp_path / "replay"))
    for stage in ("base", "final"):
        assert weights(replayed, stage) == weights(run, stage)


def test_two_replays_with_another_seed_give_the_same_files(found, tmp_path):
    first, second = (miha.optimize(replay_config(found.run_dir, tmp_path / name, seed=5)) for name in ("one", "two"))
    assert contents(first.run_dir) == contents(second.run_dir)
    assert weights(first, "final") != weights(found, "final")


def test_a_replay_that_changes_hyperparameters_does_not_say_that_it_left_them(found, tmp_path):
    _, events = watch(replay_config(found.run_dir, tmp_path / "replay"))
    (ended,) = of_kind(events, RunEnded)
    assert "No change of hyperparameters was tried." in ended.gains
    assert "unchanged" not in " ".join(ended.gains)


def test_an_edited_schedule_is_followed(found, tmp_path):
    file = tmp_path / "edited.yaml"
    file.write_text("- epochs: 2\n  set: {lr: 0.01, batch_size: 16, optimizer: SGD}\n- epochs: 3\n  annealing: true\n")
    run = miha.optimize(replay_config(found.run_dir, tmp_path / "replay", schedule=file))
    assert run.history.optimizer.tolist() == ["SGD"] * 6
    assert run.history.lr[1:].round(4).tolist() == [0.01, 0.01, 0.01, 0.0075, 0.0025]
    assert read_steps(run.run_dir / "schedule.yaml")[1].annealing


def test_an_edited_schedule_may_name_an_optimizer_alone(found, tmp_path):
    file = tmp_path / "edited.yaml"
    file.write_text(
        "- epochs: 1\n  set: {optimizer: Adam}\n- epochs: 1\n  set: {optimizer: SGD}\n"
        "- epochs: 1\n  set: {optimizer: RMSprop}\n- epochs: 1\n  set: {optimizer: Adam}\n"
    )
    run = miha.optimize(replay_config(found.run_dir, tmp_path / "replay", schedule=file))
    assert run.history.optimizer[1:].tolist() == ["Adam", "SGD", "RMSprop", "Adam"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "- epochs: 2\n  set: {activations: {encoder.1: ReLU}}\n- epochs: 1\n",
            "gives encoder.1 the activation ReLU.*body",
        ),
        ("- epochs: 2\n  set: {speed: 1}\n- epochs: 1\n", "step 1 .*speed"),
        ("- epochs: 2\n  set: {activations: {act: Relu}}\n- epochs: 1\n", "step 1 .*unknown activation 'Relu'"),
        ("- epochs: 2\n  set: {activations: {act: 3}}\n- epochs: 1\n", "step 1 .*activations"),
        ("- epochs: 2\n", "one step"),
        ("- epochs: none\n- epochs: 1\n", "no schedule: 0.epochs"),
        ("- {epochs: 1\n", "cannot be read as YAML"),
    ],
)
def test_a_schedule_that_does_not_fit_is_refused_in_one_sentence(found, tmp_path, text, message):
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        miha.optimize(replay_config(found.run_dir, tmp_path / "replay", schedule=tmp_path / "wrong.yaml"))


def test_a_configuration_goes_along_a_schedule_that_fits_its_network(found, tiny_config, tmp_path):
    run = miha.optimize(along(tiny_config("other", seed=3, schedule={"cycles": 9}), found.run_dir / "schedule.yaml"))
    assert (run.run_dir / "schedule.yaml").read_bytes() == (found.run_dir / "schedule.yaml").read_bytes()
    with pytest.raises(ConfigError, match=r"step 1 .* does not fit: start\.dropout is 0\.1, but the network has no"):
        along(tiny_config("smaller", problem=Smaller()), found.run_dir / "schedule.yaml")


def test_a_replay_is_not_written_over_its_run(found):
    with pytest.raises(ConfigError, match="another --run-dir"):
        replay_config(found.run_dir, found.run_dir)


def test_a_replay_that_was_interrupted_continues_with_the_same_bits(found, tmp_path):
    whole = miha.optimize(replay_config(found.run_dir, tmp_path / "whole"))
    parts = miha.optimize(replay_config(found.run_dir, tmp_path / "parts"))
    for name in ("final", "best"):
        model_path(parts.run_dir, name).unlink()
    miha.optimize(replay_config(found.run_dir, tmp_path / "parts"))
    assert contents(parts.run_dir) == contents(whole.run_dir)
