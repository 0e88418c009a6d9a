"""Where the days of a series are filled: in processes of this machine, or on a Dask cluster."""

from contextlib import AbstractContextManager

from miha.gapfill.series import Series
from miha.training.workers import working
from tasks.cluster import working_on


def placed(series: Series, processes: int, dask: str | None) -> tuple[Series, AbstractContextManager[None]]:
    """The series and the pool to fill its days in.

    Args:
        series: what fills which days, and where to.
        processes: of this machine, where there is no cluster.
        dask: address of the scheduler of a cluster; None: no cluster.
    """
    if dask is None:
        return series, working(processes)
    shared = series.absolute()
    needed = [path for path in (shared.data, shared.model, shared.options.area) if path]
    return shared, working_on(dask, shared.out, needed)
