"""Tasks that decide and tell: drawing a population, selecting the fittest, the report."""

from collections.abc import Sequence
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from miha.decisions import Outcome
from miha.experiment import Experiment
from miha.records.record import StageRecord
from miha.report.page import write_report
from miha.training.stages import StageSpec


@task(task_run_name="cycle {cycle}, population", cache_policy=NO_CACHE)
def generate_population(experiment: Experiment, cycle: int, parent: StageRecord) -> list[StageSpec]:
    """Draw the candidates of a cycle."""
    return experiment.population(cycle, parent)


@task(task_run_name="cycle {cycle}, selection", cache_policy=NO_CACHE)
def select_fittest(
    experiment: Experiment,
    cycle: int,
    parent: StageRecord,
    population: Sequence[StageSpec],
    outcomes: Sequence[Outcome],
) -> StageRecord:
    """Choose the fittest candidate, and show the cycle's table on the Prefect page."""
    winner = experiment.decisions.select(cycle, parent, population, outcomes)
    selection = experiment.decisions.selections[-1]
    create_table_artifact(
        table=[
            {
                "candidate": outcome.candidate,
                "change": outcome.change,
                "fitness": outcome.fitness,
                "level": outcome.level,
                "rate": outcome.rate,
                "status": outcome.status,
                "selected": "selected" if outcome.candidate == selection.selected else "",
            }
            for outcome in selection.outcomes
        ],
        key=f"cycle-{cycle}",
        description=f"Candidates of cycle {cycle}; {selection.winner.change} won.",
    )
    return winner


@task(task_run_name="report", cache_policy=NO_CACHE)
def report(run_dir: Path, summary: str) -> None:
    """Write ``report.html``, and the summary on the Prefect page."""
    write_report(run_dir)
    create_markdown_artifact(markdown=summary, key="summary", description="Outcome of the run")
