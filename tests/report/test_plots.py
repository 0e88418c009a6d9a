import miha
from miha.records.tables import read_tables
from miha.report.plots import plot_history


def test_the_learning_history_names_the_winning_change_of_each_cycle(tiny_config):
    run = miha.optimize(tiny_config())
    history, population = read_tables(run.run_dir)
    texts = [text.get_text() for text in plot_history(history, population).axes[0].texts]
    assert texts == population[population.selected].change.tolist()
    assert len(texts) == 2


def test_each_candidate_has_its_curve_from_the_end_of_its_parent(tiny_config):
    run = miha.optimize(tiny_config())
    axes = plot_history(*read_tables(run.run_dir)).axes[0]
    curves = [list(line.get_xdata()) for line in axes.lines]
    assert curves.count([2, 3, 4]) == 4
    assert curves.count([5, 6, 7]) == 4


def test_a_run_without_candidates_has_one_curve(tiny_config):
    run = miha.optimize(tiny_config(unchanged=True))
    axes = plot_history(*read_tables(run.run_dir)).axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["training, mainline", "validation, mainline"]
    assert not axes.texts


def test_a_run_is_drawn_beside_one_of_unchanged_hyperparameters_also_in_a_notebook(tiny_config):
    run, unchanged = miha.optimize(tiny_config()), miha.optimize(tiny_config("unchanged", unchanged=True))
    picture = run.plot(against=unchanged)
    (line,) = [line for line in picture.axes[0].lines if line.get_label() == "unchanged"]
    assert list(line.get_ydata()) == unchanged.history.valid_loss.tolist()
    assert picture._repr_png_().startswith(b"\x89PNG")
