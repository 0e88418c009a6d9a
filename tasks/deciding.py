"""Tasks that decide and tell: drawing a population, selecting the fittest, the report."""

from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from miha.experiment import Cycle, Experiment
from miha.records.record import StageRecord
from miha.records.selection import Selection
from miha.records.tables import read_tables
from miha.report.page import write_report
from miha.report.plots import plot_history
from tasks.artifacts import show_figure


@task(task_run_name="cycle {number}, population", cache_policy=NO_CACHE)
def generate_population(experiment: Experiment, number: int, parent: StageRecord) -> Cycle:
    """Draw the candidates of a cycle."""
    return experiment.generate_population(number, parent)


@task(task_run_name="cycle {cycle.number}, selection", cache_policy=NO_CACHE)
def select_fittest(experiment: Experiment, cycle: Cycle) -> Selection:
    """Choose the fittest candidate, and show the cycle's table on the Prefect page."""
    selection = experiment.select_fittest(cycle)
    create_table_artifact(
        table=[
            {
                "candidate": outcome.candidate,
                "change": str(outcome.change),
                "fitness": outcome.fitness,
                "level": outcome.level,
                "rate": outcome.rate,
                "noise": outcome.noise,
                "status": outcome.status,
                "selected": "selected" if outcome.candidate == selection.selected else "",
            }
            for outcome in selection.outcomes
        ],
        key=f"cycle-{cycle.number}",
        description=f"Candidates of cycle {cycle.number}; {selection.winner.change} won.",
    )
    return selection


@task(task_run_name="report", cache_policy=NO_CACHE)
def report(run_dir: Path, summary: str) -> None:
    """Write ``report.html``, and the summary on the Prefect page."""
    page = write_report(run_dir)
    history, population = read_tables(run_dir)
    show_figure(plot_history(history, population), "history", "Validation loss, with the candidates of each cycle")
    text = f"{summary}\n\nReport: `{page.absolute()}`"
    create_markdown_artifact(markdown=text, key="summary", description="Outcome of the run")
