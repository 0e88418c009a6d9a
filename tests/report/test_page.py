import html
import re
import shutil
from typing import ClassVar

import pytest
from matplotlib.figure import Figure

import miha
from miha.errors import ArchiveError, RunError
from miha.records.tables import read_tables
from miha.report.page import write_report
from tests.support.tiny import TinyProblem


class Unmeasured(TinyProblem):
    """Its metric is no number."""

    def validation(self, output, batch):
        loss, metric, count = super().validation(output, batch)
        return loss, metric * float("nan"), count


class Drawn(TinyProblem):
    """It has a figure of its own."""

    figures_title: ClassVar[str] = "What it drew"

    def figures(self, archive):
        assert archive.name == "model_best.zip"
        return {"one": Figure(), "two": Figure()}


def test_the_page_is_self_contained_and_names_the_winner(run):
    page = html.unescape(write_report(run.run_dir).read_text())
    _, population = read_tables(run.run_dir)
    assert 'src="http' not in page
    assert "<script" not in page
    assert page.count("data:image/png;base64,") == 4
    assert "<h2>Filled scenes</h2>" in page
    for change in population.change:
        assert change in page
    assert page.count('<tr class="selected">') == 1
    assert "The data set is simulated" in page


def test_a_page_tells_what_was_run_on_what(run, simulated):
    page = html.unescape(write_report(run.run_dir).read_text())
    assert str(simulated) in page
    assert '"train_samples": 6' in page
    assert f"<b>{run.best.valid_loss:.4f}</b>its validation loss" in page
    assert f"<b>{run.best.epochs[-1].metrics['mae']:.4f}</b>its validation mae K" in page
    assert "6 epochs = 1 + 1 × (3·1 + 1) + 1; 1 cycles of 3 candidates" in page


def test_a_page_of_a_run_without_candidates_and_figures_says_nothing_of_them(tiny_config):
    run = miha.optimize(tiny_config(unchanged=True))
    page = (run.run_dir / "report.html").read_text()
    assert "<h2>Candidates</h2>" not in page
    assert "<h2>Figures</h2>" not in page
    assert page.count("data:image/png;base64,") == 1
    assert f"{len(run.history) - 1} epochs = " in page
    assert "unchanged hyperparameters" in page


def test_a_problem_of_ones_own_shows_its_figures_under_its_title(tiny_config):
    run = miha.optimize(tiny_config(problem=Drawn()))
    page = (run.run_dir / "report.html").read_text()
    assert "<h2>What it drew</h2>" in page
    assert page.count("data:image/png;base64,") == 3


def test_a_page_without_the_data_says_why_it_has_no_figures(run, simulated, tmp_path):
    copy = shutil.copytree(run.run_dir, tmp_path / "copy")
    provenance = (copy / "provenance.json").read_text()
    (copy / "provenance.json").write_text(provenance.replace(str(simulated), str(tmp_path / "gone")))
    page = html.unescape(write_report(copy).read_text())
    assert f"No figures: no such folder: {tmp_path / 'gone'}" in page
    assert page.count("data:image/png;base64,") == 1


def test_a_page_is_written_where_a_metric_is_no_number(tiny_config):
    run = miha.optimize(tiny_config(problem=Unmeasured()))
    assert run.best.epochs[-1].metrics == {"mae": None}
    page = write_report(run.run_dir).read_text()
    assert "<b>–</b>its validation mae" in page
    assert f"<b>{run.best.valid_loss:.4f}</b>its validation loss" in page


def test_a_folder_that_is_no_finished_run_has_no_page(tmp_path):
    with pytest.raises(RunError, match=r"it has no provenance\.json"):
        write_report(tmp_path)


def test_a_run_whose_best_model_is_damaged_has_no_page(run, tmp_path):
    copy = shutil.copytree(run.run_dir, tmp_path / "copy")
    (copy / "model" / "model_best.zip").write_bytes(b"damaged")
    with pytest.raises(ArchiveError, match=r"model_best\.zip is truncated or no model archive"):
        write_report(copy)


def test_a_page_tells_what_changes_were_worth_in_this_run_and_those_of_its_prior(tiny_config):
    first = miha.optimize(tiny_config("first", search={"operators": {"lr": 1.0}}))
    second = miha.optimize(tiny_config("second", search={"operators": {"lr": 1.0}, "prior": [first.run_dir]}))
    tried = []
    for run in (first, second):
        page = (run.run_dir / "report.html").read_text()
        row = re.search(r'<td class="text">lr</td><td>(\d+)</td><td>(\d+)</td><td>([\d.]+)</td>', page)
        won, number = int(row[1]), int(row[2])
        assert float(row[3]) == pytest.approx((1 + won) / (2 + number), abs=0.005)
        tried.append(number)
    assert tried[1] > tried[0]
