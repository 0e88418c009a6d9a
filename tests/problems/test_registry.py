import pytest

from miha.digits.problem import Mnist
from miha.errors import ArchiveError
from miha.gapfill.pretraining import Pretraining
from miha.gapfill.problem import GapFill
from miha.problems.registry import BUILT_IN, archived_problem, build_problem, problem_class
from tests.support.tiny import TinyProblem


def test_built_in_problems_go_by_short_names():
    assert {name: problem_class(name) for name in BUILT_IN} == {
        "gapfill": GapFill,
        "pretraining": Pretraining,
        "mnist": Mnist,
    }
    assert {kind.built_in for kind in (GapFill, Pretraining, Mnist)} == set(BUILT_IN)


def test_a_problem_is_built_from_its_settings_wherever_its_class_is():
    built = build_problem({"name": "tests.support.tiny:TinyProblem", "points": 50})
    assert built == TinyProblem(points=50)
    assert build_problem(built) is built


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"name": "chess"},
            r"no problem 'chess' .*known are gapfill, pretraining, mnist, or module:Class.*set PYTHONPATH",
        ),
        ({"name": "nowhere.at_all:Class"}, "no problem 'nowhere.at_all:Class' .No module named 'nowhere'"),
        ({"name": "tests.support.tiny:Absent"}, "has no attribute 'Absent'"),
        ({"name": "tests.support.tiny:TinyNet"}, "tests.support.tiny:TinyNet is no subclass of miha.Problem"),
        ({"name": "__main__:Mine"}, "put the class into a module of its own"),
        ({}, "no problem ''"),
        ("mnist", "must be a section with a name, but is 'mnist'"),
    ],
)
def test_what_is_no_problem_is_reported_with_what_is_known(settings, message):
    with pytest.raises(ValueError, match=message):
        build_problem(settings)


def test_a_module_that_fails_while_it_is_imported_is_reported(tmp_path, monkeypatch):
    (tmp_path / "breaking.py").write_text("raise RuntimeError('no luck')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"no problem 'breaking:Mine' \(no luck\)"):
        problem_class("breaking:Mine")


def test_the_problem_of_an_archive_that_cannot_be_built_here_is_reported(tmp_path):
    assert archived_problem(TinyProblem().settings(), tmp_path) == TinyProblem(data=tmp_path)
    for settings in ({"name": "gone:Gone"}, {"name": "mnist", "hidden": 0}, {"name": "mnist", "former_key": 1}):
        with pytest.raises(ArchiveError, match="the problem that the model was trained for cannot be built here: "):
            archived_problem(settings)
