import subprocess
import sys

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.server import reach_server
from miha.errors import ConfigError
from tests.support.processes import alive, environment, wait_for


def test_a_server_that_does_not_answer_is_reported_with_the_remedy():
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}), pytest.raises(ConfigError) as caught:
        reach_server()
    assert "no Prefect server answers at http://127.0.0.1:1/api" in str(caught.value)
    assert "--no-prefect" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("after", ["its first line", "its first answer"])
def test_a_temporary_server_ends_with_the_process_that_started_it(tmp_path, after):
    code = (
        "import sys, time\n"
        "from flows.server import choose_server, reach_server, start_server\n"
        "process = start_server()\n"
        "choose_server()\n"
        f"{'reach_server()' if after == 'its first answer' else ''}\n"
        "print(process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(tmp_path / "home"),
        cwd=tmp_path,
    )
    server = int(starter.stdout.readline())
    assert alive({server})
    starter.kill()
    wait_for(lambda: not alive({server}), 6)


def test_a_package_called_flows_in_the_current_folder_is_not_taken_for_ours(tmp_path):
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "__init__.py").write_text("raise SystemExit('not ours')")
    code = "from flows.server import start_server; print(start_server().stdout.readline())"
    result = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        env=environment(tmp_path / "home"),
        cwd=tmp_path,
        check=True,
    )
    assert result.stdout.startswith("http://127.0.0.1:")
