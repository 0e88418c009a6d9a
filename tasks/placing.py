"""Where the days of a series are filled: in processes of this machine, or on a Dask cluster."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from miha.errors import RunError
from miha.gapfill.series import Series, days_of
from miha.training.workers import working
from miha.wording import plural
from tasks.cluster import ClusterGone, working_on


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
    return shared, _on_cluster(shared, dask)


@contextmanager
def _on_cluster(series: Series, dask: str) -> Iterator[None]:
    needed = [path for path in (series.data, series.model, series.options.area) if path]
    try:
        with working_on(dask, series.out, needed):
            yield
    except ClusterGone as error:
        days = days_of(series)
        done = sum(day.done(series.options) for day in days)
        raise RunError(
            f"{error} {done} of {plural(len(days), 'day')} are done. Once the cluster is back, the same command "
            "continues."
        ) from error
