"""The automations: Prefect can read them, what they wait for is what the deployments send, and a notification arrives."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from uuid import uuid4

import httpx
import pytest
import yaml
from prefect.events.schemas.automations import AutomationCore, Posture

from flows.incoming import FILLED
from tests.support.processes import BIN, ROOT, environment, free_port, running, wait_for

FILE = ROOT / "deploy" / "automations.yaml"
BLOCK = """
from prefect.blocks.notifications import CustomWebhookNotificationBlock as Webhook
print(Webhook(name="test", url="http://127.0.0.1:{port}", json_data={{"text": "{{{{subject}}}}"}}).save("test"))
"""
EVENT = """
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
related = [{"prefect.resource.id": "prefect.tag.miha", "prefect.resource.role": "tag"}]
emit_event("prefect.flow-run.Failed", {"prefect.resource.id": "prefect.flow-run.x"}, related=related)
EventsWorker.instance().drain()
"""


@pytest.fixture(scope="module")
def automations():
    text = FILE.read_text().replace("NOTIFICATION_BLOCK", str(uuid4()))
    return [AutomationCore.model_validate(one) for one in yaml.safe_load(text)["automations"]]


def test_failures_are_reported_at_once_and_missing_results_in_time(automations):
    failed, *late = [one.trigger for one in automations]
    assert failed.posture == Posture.Reactive
    assert failed.expect == {"prefect.flow-run.Failed", "prefect.flow-run.Crashed"}
    assert [trigger.posture for trigger in late] == [Posture.Proactive] * 2
    assert [trigger.within.days for trigger in late] == [2, 8]


def test_they_wait_for_what_the_deployments_send(automations):
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert all("miha" in deployment["tags"] for deployment in deployments)
    failed, scenes, training = [one.trigger for one in automations]
    assert failed.match_related["prefect.resource.id"] == ["prefect.tag.miha"]
    assert scenes.expect == {FILLED}
    assert set(training.match_related["prefect.resource.name"]) <= {one["name"] for one in deployments}


@pytest.mark.slow
def test_a_failed_run_and_a_missing_result_are_notified(tmp_path):
    received = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["text"])
            self.send_response(200)
            self.end_headers()

    receiver = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{(port := free_port())}/api"
    env, log = environment(tmp_path / "home", PREFECT_API_URL=url), tmp_path / "log"

    def python(code):
        return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout

    with running([str(BIN / "prefect"), "server", "start", "--port", str(port)], log, env):
        wait_for(lambda: _answers(f"{url}/health"), 180, log)
        block = python(BLOCK.format(port=receiver.server_port)).strip()
        text = FILE.read_text().replace("NOTIFICATION_BLOCK", block).replace("within: 172800", "within: 10")
        (tmp_path / "automations.yaml").write_text(text)
        create = [str(BIN / "prefect"), "automation", "create", "--from-file", str(tmp_path / "automations.yaml")]
        created = subprocess.run(create, env=env, capture_output=True, text=True, check=True).stdout
        assert "Failed" not in created
        python(EVENT)
        wait_for(lambda: {text.partition(":")[2].strip() for text in received} >= {"no new scenes"}, 90, log)
        wait_for(lambda: any(text.startswith("MIHA: ") and "no new" not in text for text in received), 30, log)
    receiver.shutdown()


def _answers(url):
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False
