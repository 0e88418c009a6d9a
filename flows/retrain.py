"""The flow that runs on a schedule: train a model anew on the data as they are now, release it if it is better."""

from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from flows.optimize import carry_out
from miha.config_files import read_config
from miha.gapfill.release import Verdict
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
) -> Verdict:
    """Prepare what changed, optimize, and release the model if it is better than the released one.

    Args:
        dataset: name of the data set, and of its folder in ``models`` and ``runs``.
        data: folder of its scenes: history/ static/ gapped/ truth/.
        raw: folder that `miha fetch` wrote, to prepare ``data`` from; none: ``data`` is kept up to date by others.
        config: YAML files, or sections of them (FILE:SECTION), as after `miha optimize --config`.
        settings: KEY=VALUE, as after `miha optimize --set`.
        models: folder of the released models.
        runs: folder of the run directories, each named after the time its run was scheduled for, so that another try
            of the same run continues it.
    """
    if raw:
        prepare_if_changed(raw, data, models / dataset / "prepared.sha256")
    when = flow_run.scheduled_start_time.strftime("%Y%m%dT%H%M%SZ")
    run_dir = runs / dataset / when
    carry_out(read_config(config, settings, {"problem.data": str(data), "run_dir": str(run_dir)}))
    return release(run_dir, data, models / dataset)
