import pytest
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(scope="session")
def prefect_server():
    """A real, temporary Prefect server with a data base of its own."""
    with prefect_test_harness(server_startup_timeout=120):
        yield
