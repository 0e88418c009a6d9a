import inspect
import re
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from miha.config import RunConfig, make_config
from miha.config_files import read_config
from miha.digits.problem import Mnist
from miha.errors import ConfigError
from miha.evolution.hyperparameter import Offer
from miha.evolution.hyperparameters import HYPERPARAMETERS
from miha.gapfill.pretraining import Pretraining
from miha.gapfill.problem import GapFill

ROOT = Path(__file__).parents[1]
SECTIONS = {"schedule", "start", "search", "fitness", "faults", "run"}


def test_defaults_make_a_configuration_of_gap_filling():
    config = make_config({})
    assert isinstance(config.problem, GapFill)
    assert config == RunConfig()


def test_the_budget_is_2m_plus_c_times_population_and_fixing():
    config = make_config(
        {
            "schedule": {
                "initial_epochs": 5,
                "cycles": 3,
                "population_size": 4,
                "candidate_epochs": 2,
                "fixing_epochs": 6,
            }
        }
    )
    assert config.schedule.budget == 2 * 5 + 3 * (4 * 2 + 6)
    config = make_config({"schedule": {"initial_epochs": 5, "cycles": 0, "final_epochs": 7}})
    assert config.schedule.budget == 12


def test_all_mistakes_are_reported_at_once_by_name():
    with pytest.raises(ConfigError) as caught:
        make_config(
            {
                "sede": 1,
                "schedule": {"cycle": 3, "initial_epochs": 0},
                "start": {"optimizer": "Adamm", "lr": -1},
                "problem": {"widht": 3},
                "search": {"operators": {"magic": 1}},
                "run": {"precision": "float8"},
            }
        )
    message = str(caught.value)
    for part in (
        "sede: no such key; did you mean 'seed'?",
        "schedule.cycle: no such key; did you mean 'cycles'?",
        "schedule.initial_epochs",
        "(got 0)",
        "unknown optimizer 'Adamm'",
        "start.lr",
        "(got -1)",
        "problem.widht: no such key",
        "unknown operator 'magic'",
        "run.precision",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"faults": {"min_survivors": 9}}, "faults.min_survivors 9 is above schedule.population_size 4"),
        ({"start": {"batch_size": 500}}, "start.batch_size 500 is outside"),
        ({"search": {"min_batch_size": 30, "max_batch_size": 20}}, "min_batch_size 30 is above max_batch_size 20"),
        ({"search": {"operators": {"optimizer": -1}}}, "the weight of 'optimizer' must be 0 or more but is -1"),
        ({"problem": {"name": "chess"}}, "problem"),
        ({"start": {"lr": 20}}, r"start.lr 20.0 is outside search.min_lr to search.max_lr \(1e-06 to 10.0\)"),
        ({"search": {"max_lr": 1e-4}}, "start.lr 0.001 is outside"),
        ({"start": {"weight_decay": 1e-9}}, "start.weight_decay 1e-09 is outside"),
        ({"start": {"dropout": 0.7}}, r"start.dropout 0.7 is outside search.min_dropout .*\(0.0 to 0.5\)"),
        ({"search": {"min_dropout": 0.2}, "start": {"dropout": 0.1}}, "start.dropout 0.1 is outside"),
        ({"search": {"min_dropout": 0.4, "max_dropout": 0.3}}, "min_dropout 0.4 is above max_dropout 0.3"),
        ({"search": {"max_dropout": 1.0}}, "search.max_dropout: Input should be less than 1"),
        ({"search": {"max_augmentation": 1.1}}, "search.max_augmentation: Input should be less than or equal to 1"),
        ({"search": {"min_augmentation": 0.1}}, "start.augmentation 0.0 is outside search.min_augmentation"),
        ({"search": {"max_augmentation": 0.5}, "start": {"augmentation": 0.6}}, "start.augmentation 0.6 is outside"),
        ({"start": {"optimizer": "Adagrad", "momentum": 0.9}}, "Adagrad has no momentum, but it is 0.9. Leave it out"),
        ({"search": {"min_momentum": 0.9, "max_momentum": 0.8}}, "min_momentum 0.9 is above max_momentum 0.8"),
    ],
)
def test_values_that_do_not_fit_together_are_reported(content, message):
    with pytest.raises(ConfigError, match=message):
        make_config(content)


def test_settings_go_over_the_file_and_options_over_both(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("seed: 1\nschedule:\n  cycles: 2\n  fixing_epochs: 9\nstart: {lr: 0.1}\n")
    config = read_config(
        [str(file)], ["schedule.cycles=7", "start.lr=1e-3", "search.operators={optimizer: 2}"], {"seed": 5}
    )
    assert (config.seed, config.schedule.cycles, config.schedule.fixing_epochs) == (5, 7, 9)
    assert config.start.lr == 0.001
    assert config.search.operators == {"optimizer": 2.0}


def test_sections_of_one_file_are_merged_in_their_order(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_text(
        "optimize: {seed: 1, schedule: {cycles: 2}}\ndatasets: {madrid: {schedule: {fixing_epochs: 9}}, none: }\n"
    )
    config = read_config([f"{file}:optimize", f"{file}:datasets.madrid", f"{file}:datasets.none"], [], {})
    assert (config.seed, config.schedule.cycles, config.schedule.fixing_epochs) == (1, 2, 9)
    with pytest.raises(ConfigError, match=r"params\.yaml has no section 'datasets.atlantis'"):
        read_config([f"{file}:datasets.atlantis"], [], {})


def test_a_section_without_keys_leaves_those_of_other_files_and_of_the_command_line(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("schedule: {cycles: 7}\n")
    second.write_text("problem:\nschedule:\n  # cycles: 5\nstart:\n")
    assert read_config([str(second)], [], {}) == RunConfig()
    assert read_config([str(first), str(second)], ["start.lr=0.1"], {}).schedule.cycles == 7
    assert read_config([str(second)], ["schedule.cycles=9"], {"problem.data": "here"}).problem.data == Path("here")


def test_the_name_of_the_problem_chooses_its_settings():
    config = read_config([], ["problem.hidden=50"], {"problem.name": "mnist"})
    assert isinstance(config.problem, Mnist)
    assert config.problem.hidden == 50
    with pytest.raises(ConfigError, match=r"problem\.trees: no such key"):
        read_config([], ["problem.trees=50"], {"problem.name": "mnist"})


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [", "cannot be read as YAML"), ("- 1", "must hold sections"), (None, "cannot be read")],
)
def test_a_file_that_is_no_configuration_is_reported(tmp_path, content, message):
    file = tmp_path / "run.yaml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read_config([str(file)], [], {})


@pytest.mark.parametrize("setting", ["seed", "=3", "seed.x=3", "seed=[1"])
def test_a_malformed_setting_is_reported(setting):
    with pytest.raises(ConfigError):
        read_config([], ["seed=1", setting], {})


def test_a_configuration_survives_json():
    config = read_config([], ["problem.name=mnist", "schedule.cycles=7"], {})
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


def keys(model, prefix=""):
    """All keys of a configuration with their fields, in their order; those of one problem alone are marked."""
    for name, field in model.model_fields.items():
        if name == "problem":
            yield from ((f"problem.{key}", field) for key, field in GapFill.model_fields.items())
            for kind in (Pretraining, Mnist):
                own = inspect.get_annotations(kind).keys() & kind.model_fields.keys() - {"name"}
                yield from ((f"problem.{key} ({kind.built_in})", kind.model_fields[key]) for key in sorted(own))
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def documented(key, field):
    """The row of the documentation that a key should have."""
    default = field.get_default(call_default_factory=True)
    default_text = {"None": "none", "True": "true", "False": "false"}.get(str(default), f"`{default}`")
    if isinstance(default, dict):
        assert set(default.values()) == {1.0}
        default_text = "each but neuron_activation: `1.0`"
    return f"| `{key}` | {default_text} | {field.description} |"


def test_every_key_is_in_the_documentation_with_its_default_and_its_explanation():
    assert [key for key, field in keys(RunConfig) if not field.description] == []
    assert [name for name, kind in HYPERPARAMETERS.items() if kind.weight != 1.0] == ["neuron_activation"]
    page = (ROOT / "docs" / "configuration.md").read_text()
    rows = re.findall(r"^\| `.*", page, re.MULTILINE)
    assert rows == [documented(key, field) for key, field in keys(RunConfig)]


def test_the_schema_for_a_form_lists_the_settings_of_each_problem_with_their_explanations():
    problem = RunConfig.model_json_schema()["properties"]["problem"]
    *built_in, own = problem["anyOf"]
    assert own["title"] == "module:Class of your own"
    for kind, listed in zip((GapFill, Pretraining, Mnist), built_in, strict=True):
        assert {key: field["description"] for key, field in listed["properties"].items()} == {
            key: field.description for key, field in kind.model_fields.items()
        }
        assert listed["properties"]["name"]["default"] == kind.built_in


def test_the_schema_for_a_form_lists_what_each_other_section_takes():
    schema = RunConfig.model_json_schema()
    sections = {name: field.annotation for name, field in RunConfig.model_fields.items() if name in SECTIONS}
    assert sections.keys() == SECTIONS
    for name, section in sections.items():
        assert schema["properties"][name]["$ref"].endswith(section.__name__)
        assert set(schema["$defs"][section.__name__]["properties"]) == set(section.model_fields)


@pytest.mark.parametrize(
    "setting",
    ["problem=mnist", "problem.name=[1]", "start.lr=.inf", "run.checkpoint_every=.inf", "faults.timeout=.nan"],
)
def test_odd_values_are_reported_as_any_other(setting):
    with pytest.raises(ConfigError, match="the configuration is wrong"):
        read_config([], [setting], {})


def test_an_empty_problem_is_the_default_and_a_pattern_needs_no_quotes():
    assert read_config([], ["problem="], {}) == RunConfig()
    assert read_config([], ["problem.date_pattern=%Y%j"], {}).problem.date_pattern == "%Y%j"


def test_hyperparameters_start_with_the_optimizers_own_values_unless_set():
    offer = Offer(
        layers={"act": ("ReLU", "Tanh")},
        activations={"act": "Tanh"},
        losses=("l1", "mse"),
        dropouts=(0.1,),
        augmentation=True,
    )
    point = make_config({"start": {"optimizer": "AdamW"}}).start.point(offer)
    assert (point.lr, point.weight_decay, point.momentum, point.beta2) == (1e-3, 1e-2, 0.9, 0.999)
    assert (point.loss, point.dropout, point.augmentation) == ("l1", 0.1, 0.0)
    assert point.activations == {"act": "Tanh"}
    start = {"lr": 0.1, "weight_decay": 0.0, "momentum": 0.5, "loss": "mse", "dropout": 0.0, "augmentation": 0.5}
    point = make_config({"start": {"optimizer": "SGD", **start}}).start.point(offer)
    assert {name: getattr(point, name) for name in start} == start


def test_dropouts_that_differ_stay_as_they_are_written():
    assert make_config({}).start.point(Offer(dropouts=(0.1, 0.3))).dropout is None


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"loss": "hinge"}, "start.loss is 'hinge', which the problem does not offer: it offers none"),
        ({"dropout": 0.1}, "start.dropout is 0.1, but the network has no nn.Dropout"),
        ({"augmentation": 0.1}, "start.augmentation is 0.1, but the problem has none"),
    ],
)
def test_a_start_that_the_problem_has_no_place_for_is_reported(start, message):
    with pytest.raises(ConfigError, match=message):
        make_config({"start": start}).start.point(Offer())


PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.mark.parametrize(
    "files", [["demo.yaml"], *(["params.yaml:optimize", f"params.yaml:datasets.{name}"] for name in PARAMS["datasets"])]
)
def test_the_configurations_in_the_project_are_right(files):
    assert read_config([str(ROOT / file) for file in files], [], {}).problem.name == "gapfill"
