import re

import pytest
from typer.testing import CliRunner

import miha
from flows.cli import app
from miha.errors import RunError
from miha.report.lineage import lineage_tree


def test_a_run_is_shown_as_a_tree_of_stages_with_changes_and_fitness(tiny_config):
    run = miha.optimize(tiny_config())
    result = CliRunner().invoke(app, ["lineage", str(run.run_dir)], catch_exceptions=False)
    assert result.exit_code == 0
    stages = re.findall(r"^[├└]── (\w+)", result.output, re.MULTILINE)
    assert stages == ["base", "init", "1", "2", "final"]
    candidates = re.findall(r"^[│ ]   [├└]── (\w+)  ", result.output, re.MULTILINE)
    assert candidates == [f"{cycle}_{number}" for cycle in (1, 2) for number in range(4)]
    for row in run.population.itertuples():
        name = f"{row.cycle}_{row.candidate}"
        (line,) = re.findall(rf"── ({name}  .*)", result.output)
        assert row.change in line
        assert f"fitness {row.fitness:+.4f}" in line
        assert ("selected" in line) == row.selected
        if row.selected:
            assert re.search(rf"── {row.cycle}  .*from {name}", result.output)
    assert re.search(rf"── {run.best.name}  .*best", result.output)


def test_a_folder_without_a_run_has_no_lineage(tmp_path):
    with pytest.raises(RunError, match=r"no history\.csv"):
        lineage_tree(tmp_path)
