import shutil

import pandas as pd
import pytest
from rich.console import Console

import miha
from miha.errors import ArchiveError
from miha.problems.judgement import Judgement
from miha.records.archive import read_manifest
from miha.records.record import model_path
from miha.report.tables import archive_table, judgement_table


def shown(renderable):
    """What a wide terminal shows."""
    console = Console(width=400, force_terminal=False, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(renderable)
    return console.export_text(styles=False)


@pytest.mark.parametrize(("lower", "best"), [(True, ["0.250", "0.500"]), (False, ["0.750", "1.500"]), (None, [])])
def test_the_best_of_each_row_stands_out_if_there_is_a_best(lower, best):
    frame = pd.DataFrame({"ridge": [0.25, 1.5], "miha": [0.75, 0.5]}, index=["05", "mean"]).rename_axis("gap")
    table = judgement_table(Judgement({}, frame, "errors, K", lower))
    assert table.title == "errors, K"
    assert [column.header for column in table.columns] == ["gap", "ridge", "miha"]
    cells = [list(column.cells) for column in table.columns]
    assert cells[0] == ["05", "mean"]
    marked = [cell for row in zip(*cells[1:], strict=True) for cell in row if "green" in cell]
    assert marked == [f"[bold green]{value}[/]" for value in best]


def test_a_judgement_is_shown_with_its_title_and_every_column(evaluated):
    _, judgement = evaluated
    text = shown(judgement_table(judgement))
    assert " ".join(text.split()).startswith(
        "mean absolute error inside the gap, K; simulated scenes; gap in percent of"
    )
    rows = [line.split() for line in text.splitlines()]
    first = rows.index(["gap", "mean_plus_offset", "ridge", "trees", "base", "miha"])
    assert len(rows[first:]) == 1 + 8 + 1
    assert rows[-1] == ["mean", *(f"{value:.3f}" for value in judgement.table.loc["mean"])]


def test_an_archive_tells_where_it_comes_from_and_how_it_learned(run, simulated):
    text = shown(archive_table(run.model))
    for part in (
        f"{run.best.name} (this is a copy of it)",
        "name gapfill",
        str(simulated),
        run.best.digest,
        f"epochs        {run.best.epochs[0].epoch} to {run.best.last_epoch} of the mainline",
    ):
        assert part in text
    final = model_path(run.run_dir, "final")
    assert f"{read_manifest(final).record.epochs[-1].train_loss:.4f}" in shown(archive_table(final))


def test_an_archive_away_from_its_run_tells_all_but_that(run, tmp_path):
    shutil.copy(run.model, tmp_path / "alone.zip")
    text = shown(archive_table(tmp_path / "alone.zip"))
    assert run.best.digest in text
    assert "git revision" not in text


def test_an_archive_that_is_damaged_is_not_shown(run, tmp_path):
    (tmp_path / "damaged.zip").write_bytes(run.model.read_bytes()[:-100])
    with pytest.raises(ArchiveError, match=r"damaged\.zip is truncated or no model archive"):
        archive_table(tmp_path / "damaged.zip")


def test_the_first_stage_of_a_run_has_no_parent(tiny_config):
    run = miha.optimize(tiny_config())
    assert "none, fresh weights" in shown(archive_table(run.run_dir / "model" / "model_base.zip"))
