import pytest

from miha.report.evaluate import evaluate
from tests.support.filling import small_run


@pytest.fixture(scope="session")
def run(simulated, tmp_path_factory):
    """A small finished run of gap filling; tests must not change its models."""
    return small_run(tmp_path_factory.mktemp("report") / "run", {"data": simulated})


@pytest.fixture(scope="session")
def evaluated(run, simulated):
    """What `miha evaluate` says of it: metrics and judgement."""
    return evaluate(run.run_dir, simulated)
