"""The flow that runs on a schedule: train a model anew on the data as they are now, release it if it is better."""

from pathlib import Path

from prefect import flow
from prefect.logging import get_run_logger
from prefect.runtime import flow_run

from flows.optimize import carry_out
from miha.config_files import read_config
from miha.errors import ConfigError
from miha.evolution.steps import FILE
from miha.gapfill.release import Verdict
from miha.records.provenance import FILE as PROVENANCE
from miha.records.provenance import read_provenance
from miha.replay import along
from tasks.releasing import prepare_if_changed, release


@flow(name="retrain", flow_run_name="retrain {dataset}")
def retrain(
    dataset: str,
    data: Path,
    raw: Path | None = None,
    config: list[str] = [],  # noqa: B006
    settings: list[str] = [],  # noqa: B006
    models: Path = Path("models"),
    runs: Path = Path("runs/retrain"),
    search_every: int = 1,
) -> Verdict:
    """Prepare what changed, optimize, and release the model if it is better than the released one.

    Args:
        dataset: name of the data set, and of its folder in ``models`` and ``runs``.
        data: folder of its scenes: history/ static/ companions/ gapped/ truth/.
        raw: folder that `miha fetch` wrote, to prepare ``data`` from; none: ``data`` is kept up to date by others.
        config: YAML files, or sections of them (FILE:SECTION), as after `miha optimize --config`.
        settings: KEY=VALUE, as after `miha optimize --set`.
        models: folder of the released models.
        runs: folder of the run directories, each named after the time its run was scheduled for, so that another try
            of the same run continues it.
        search_every: search hyperparameters anew in every n-th run only, and replay in between what was found last, at
            the cost of its mainline alone; where that does not fit the network any more, the run searches, too.
    """
    if raw:
        prepare_if_changed(raw, data, models / dataset / "prepared.sha256")
    when = flow_run.scheduled_start_time.strftime("%Y%m%dT%H%M%SZ")
    run_dir = runs / dataset / when
    chosen = read_config(config, settings, {"problem.data": str(data), "run_dir": str(run_dir)})
    if found := schedule_to_replay(run_dir, search_every):
        try:
            chosen = along(chosen, found)
            get_run_logger().info("trains along %s, without a population", found)
        except ConfigError as error:  # e.g. the network is another one by now
            get_run_logger().warning("searches anew, since %s cannot be replayed: %s", found, error)
    carry_out(chosen)
    return release(run_dir, data, models / dataset)


def schedule_to_replay(run_dir: Path, search_every: int) -> Path | None:
    """The schedule that the last search before a run found; None if it is time to search, or there is none.

    Args:
        run_dir: of the run; its siblings are named after their times.
        search_every: every so many runs search.
    """
    finished = [one for one in run_dir.parent.glob("*") if one.name < run_dir.name and (one / PROVENANCE).exists()]
    for run in sorted(finished, reverse=True)[: search_every - 1]:
        if not read_provenance(run).configuration.replay:
            return run / FILE
    return None
