import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.server import reach_server
from miha.errors import ConfigError


def test_a_server_that_does_not_answer_is_told_with_the_remedy():
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}), pytest.raises(ConfigError) as told:
        reach_server()
    assert "no Prefect server answers at http://127.0.0.1:1/api" in str(told.value)
    assert "--no-prefect" in str(told.value)
