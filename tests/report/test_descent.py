import miha
from miha.records.tables import read_tables
from miha.report.descent import descent


def test_the_steps_are_the_mainline_with_the_candidates_of_each_cycle_the_winner_first(tiny_config):
    run = miha.optimize(tiny_config())
    history, population = read_tables(run.run_dir)
    steps = descent(history, population)
    assert [step.title.split(":")[0].split(" ")[0] for step in steps] == [
        *("Base", "Initial", "Cycle", "Training", "Cycle", "Training", "Final")
    ]
    for cycle, step in enumerate((step for step in steps if step.candidates), start=1):
        rows = population[population.cycle == cycle].set_index("candidate")
        assert sorted(one.number for one in step.candidates) == sorted(rows.index)
        assert [one.mark for one in step.candidates].count("★") == 1
        assert rows.selected[step.candidates[0].number]
    assert f"{run.history.valid_loss.iloc[-1]:.4f}" in steps[-1].sentence


def test_a_run_without_candidates_has_stages_alone(tiny_config):
    run = miha.optimize(tiny_config(unchanged=True))
    assert not any(step.candidates for step in descent(*read_tables(run.run_dir)))


def test_a_race_and_a_soup_are_described_as_what_they_are(tiny_config):
    run = miha.optimize(tiny_config(schedule={"racing": 1, "soups": True}))
    history, population = read_tables(run.run_dir)
    candidates = [one for step in descent(history, population) for one in step.candidates]
    assert {one.mark for one in candidates if one.status == "stopped"} == {"○"}
    assert (
        sum(one.phrase.startswith("the mean of candidates") for one in candidates)
        == (population.members != "").sum()
        > 0
    )
