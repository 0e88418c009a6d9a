import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

import pytest
from rich.console import Console

from flows.doctor import doctor_table, examine


@pytest.fixture
def healthy(monkeypatch):
    """The address of a server that answers as Prefect's does."""

    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/api/health" else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


def found(run_dir):
    return {check.name: check for check in examine(run_dir)}


def test_versions_are_those_installed_and_nothing_is_broken_here(tmp_path):
    checks = found(tmp_path / "runs")
    for name in ("torch", "numpy", "rasterio", "prefect"):
        assert checks[name].found == version(name)
    assert checks["MIHA"].found.startswith(version("miha"))
    assert str(tmp_path) in checks["run folder"].found
    assert not [check for check in checks.values() if check.state == "broken"]


def test_what_is_slow_or_broken_comes_with_what_to_do(tmp_path):
    for check in examine(tmp_path):
        assert check.state == "good" or check.advice, check


def test_a_prefect_server_is_asked(tmp_path, healthy):
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: healthy}):
        assert found(tmp_path)["Prefect server"].found == f"{healthy} answers"
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        check = found(tmp_path)["Prefect server"]
        assert check.state == "broken"
        assert "--no-prefect" in check.advice


def test_a_file_in_place_of_a_run_folder_is_broken(tmp_path):
    (tmp_path / "runs").write_text("")
    assert found(tmp_path / "runs" / "madrid")["run folder"].state == "broken"


def test_the_table_has_a_line_for_each_check_and_shows_brackets_as_they_are(tmp_path):
    folder = tmp_path / "[bold]"
    folder.mkdir()
    console = Console(file=io.StringIO(), width=400)
    checks = examine(folder)
    console.print(doctor_table(checks))
    text = console.file.getvalue()
    assert str(folder) in text
    assert all(check.name in text for check in checks)
