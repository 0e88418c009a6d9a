import miha
from miha.records.lineage import lineage_frame
from miha.records.tables import read_tables


def test_the_lineage_counts_every_mainline_epoch_once_and_begins_with_the_base(tiny_config):
    run = miha.optimize(tiny_config())
    lineage = lineage_frame(*read_tables(run.run_dir))
    assert lineage.epoch.tolist() == list(range(len(lineage)))


def test_the_lineage_goes_through_the_selected_candidates(tiny_config):
    run = miha.optimize(tiny_config())
    history, population = read_tables(run.run_dir)
    lineage = lineage_frame(history, population)
    through = lineage[lineage.candidate.notna()].drop_duplicates("cycle")[["cycle", "candidate"]]
    selected = population.loc[population.selected, ["cycle", "candidate"]]
    assert through.to_numpy().tolist() == selected.to_numpy().tolist()
    assert len(lineage) == len(run.history) - 2 * 3 * 2
