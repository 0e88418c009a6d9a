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
from tests.support.browser import dumped
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
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import|fetch\(""", page)
    for change in population.change:
        assert change in page
    assert page.count('<tr class="selected">') == page.count('<li class="won">') == 1
    assert "The data set is simulated" in page
    assert len(page) < 2_000_000


def test_the_first_screen_says_how_well_beside_the_base_and_others_with_intervals(run):
    page = html.unescape((run.run_dir / "report.html").read_text())
    first = page[page.index("<body>") : page.index("<h2>Maps</h2>")]
    assert re.search(r"<b>\d\.\d{2,3} K</b>mean absolute error inside hidden gaps \(95 % interval", first)
    ours = "mean of several bases" if run.best.name == "base" else "trained network"
    for method in (ours, "base, untrained", "ridge regression", "pixel mean plus offset"):
        row = first[first.index(f'<th scope="row">{method}</th>') :]
        assert re.search(r"\d\.\d\d\d? <span class=\"soft\">\d\.\d+ to \d\.\d+</span>", row)
    for sentence in ("The base alone, which needs no training", " the error of the base ", "Of the true values"):
        assert sentence in first
    assert '<div class="frame">' in first


def test_every_image_has_a_text_and_every_slider_a_name(run):
    page = (run.run_dir / "report.html").read_text()
    images = re.findall(r"<img[^>]*>", page)
    assert len(images) == 3 * 2 + 1 + 3 * 3 + 4 + 1
    assert all(re.search(r'alt="[^"]{20,}"', image) for image in images)
    sliders = re.findall(r"<input[^>]*>", page)
    assert len(sliders) == 3
    assert all(re.search(r'aria-label="[^"]{20,}"', slider) for slider in sliders)


@pytest.mark.slow
def test_a_page_fits_the_width_of_a_phone_and_its_slider_moves(run, tmp_path):
    probe = """<script>addEventListener("load", () => {
      const slider = document.querySelector(".frame input");
      slider.value = 20; slider.dispatchEvent(new Event("input"));
      document.body.dataset.seen = [document.documentElement.scrollWidth <= innerWidth,
        slider.parentElement.style.getPropertyValue("--at")].join(" ");
    })</script></body>"""
    page = tmp_path / "page.html"
    page.write_text((run.run_dir / "report.html").read_text().replace("</body>", probe))
    for width in (500, 1280):  # the narrowest window that headless Chromium makes is 500 pixels wide
        assert 'data-seen="true 20%"' in dumped(page.as_uri(), width)


def test_a_page_tells_what_was_run_on_what(run, simulated):
    page = html.unescape(write_report(run.run_dir).read_text())
    assert str(simulated) in page
    assert '"train_samples": 6' in page
    assert f'<th scope="row">validation loss</th><td>{run.best.valid_loss:.4f} (base ' in page
    assert f'<th scope="row">validation mae</th><td>{run.best.epochs[-1].metrics["mae"]:.4f} K</td>' in page
    assert "6 epochs trained: 6 = 1 + 1 × (3·1 + 1) + 1; 1 cycle of 3 candidates" in page


def test_a_page_of_a_run_without_candidates_and_figures_says_nothing_of_them(tiny_config):
    run = miha.optimize(tiny_config(unchanged=True))
    page = (run.run_dir / "report.html").read_text()
    assert "All candidates" not in page
    assert "<h2>Figures</h2>" not in page
    assert page.count("<img") == 1
    assert f"<b>{run.best.valid_loss:.4f}</b>validation loss of the best model" in page
    assert f"{len(run.history) - 1} epochs trained: " in page
    assert "unchanged hyperparameters" in page


def test_a_problem_of_ones_own_shows_its_figures_under_its_title(tiny_config):
    run = miha.optimize(tiny_config(problem=Drawn()))
    page = (run.run_dir / "report.html").read_text()
    assert "<h2>What it drew</h2>" in page
    assert page.count("<img") == 3


def test_a_page_without_the_data_says_why_it_has_no_figures(run, simulated, tmp_path):
    copy = shutil.copytree(run.run_dir, tmp_path / "copy")
    provenance = (copy / "provenance.json").read_text()
    (copy / "provenance.json").write_text(provenance.replace(str(simulated), str(tmp_path / "gone")))
    page = html.unescape(write_report(copy).read_text())
    assert f"The model could not be judged or drawn: no such folder: {tmp_path / 'gone'}" in page
    assert page.count("<img") == 1


def test_a_page_is_written_where_a_metric_is_no_number(tiny_config):
    run = miha.optimize(tiny_config(problem=Unmeasured()))
    assert run.best.epochs[-1].metrics == {"mae": None}
    page = write_report(run.run_dir).read_text()
    assert '<th scope="row">validation mae</th><td>– ' in page
    assert f'<th scope="row">validation loss</th><td>{run.best.valid_loss:.4f} (base ' in page


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
        row = re.search(r"<tr><td>lr</td><td>(\d+)</td><td>(\d+)</td><td>([\d.]+)</td>", page)
        won, number = int(row[1]), int(row[2])
        assert float(row[3]) == pytest.approx((1 + won) / (2 + number), abs=0.005)
        tried.append(number)
    assert tried[1] > tried[0]
