import dataclasses
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from frontier.errors import InputError
from moalign.serving import ServeConfig, serve
from moalign.serving.access import add_key


@pytest.fixture(scope="module")
def bundle(policy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "steered"
    policy.save_pretrained(folder)
    return folder


# In the server's process: rows get their first token, and no other before a file is there.
HOLD = """
import pathlib, time
from moalign.serving.batch import RunningBatch
decode = RunningBatch.decode
RunningBatch.decode = lambda batch: decode(batch) if pathlib.Path({!r}).exists() else time.sleep(0.001)
"""


@pytest.fixture
def start(bundle):
    """Starts the server in a process of its own: `process, what it printed`. With `until`, answers are not finished before there is a file of this name."""
    processes = []

    def start(until=None, **settings):
        code = "" if until is None else HOLD.format(str(until))
        code += f"from moalign.serving import serve; serve({str(bundle)!r}, port=0, device='cpu', **{settings!r})"
        command = [sys.executable, "-c", code]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        processes.append(process)
        lines = []
        while not any(line.startswith("curl") for line in lines):
            lines.append(process.stdout.readline())
            assert lines[-1], "".join(lines)
        return process, "".join(lines)

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def stream_until_started(url, done, **body):
    """A streamed request in a thread; returns once its first event came."""
    first = threading.Event()

    def read():
        with httpx.stream("POST", url + "/v1/completions", json={**body, "stream": True}, timeout=300) as answer:
            for line in answer.iter_lines():
                done.append(line)
                first.set()

    thread = threading.Thread(target=read)
    thread.start()
    assert first.wait(120)
    return thread


def test_serves_the_example_that_it_prints_and_drains_on_sigterm(start, tmp_path):
    process, printed = start(until=tmp_path / "go", drain_seconds=300)
    url = re.search(r"Serving 'steered' on (http://127\.0\.0\.1:\d+)/v1, objectives: helpful, brief", printed)[1]
    _, address, _, header, _, body = shlex.split(next(x for x in printed.splitlines() if x.startswith("curl")))
    (tmp_path / "go").touch()
    answer = httpx.post(address, content=body, headers=[header.split(": ")], timeout=120)
    assert answer.status_code == 200
    assert answer.json()["preference"] == {"weights": {"helpful": 0.7, "brief": 0.3}}
    (tmp_path / "go").unlink()
    lines = []
    thread = stream_until_started(url, lines, prompt="w1", n=60, max_tokens=120, temperature=2)
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: refuses(url))
    (tmp_path / "go").touch()
    thread.join(120)
    assert lines[-2:] == ["data: [DONE]", ""] or lines[-1] == "data: [DONE]"
    reasons = [json.loads(x[6:])["choices"][0]["finish_reason"] for x in lines if x.startswith("data: {")]
    assert sum(reason is not None for reason in reasons) == 60
    assert process.wait(120) == 0


def test_what_does_not_drain_in_time_is_told_so(start, tmp_path):
    process, printed = start(until=tmp_path / "never", drain_seconds=0.2, max_batch_size=1)
    url = re.search(r"on (http://[^/]+)", printed)[1]
    lines = []
    thread = stream_until_started(url, lines, prompt="w1", n=64, max_tokens=120, temperature=2)
    process.send_signal(signal.SIGINT)
    thread.join(120)
    data = [x.removeprefix("data: ") for x in lines if x]
    assert data[-1] == "[DONE]"
    assert "before the answer was finished" in json.loads(data[-2])["error"]["message"]
    assert process.wait(120) == 0


def test_sigterm_under_load_finishes_what_was_accepted_and_takes_nothing_new(start, tmp_path):
    go = tmp_path / "go"
    process, printed = start(until=go, drain_seconds=300, max_batch_size=4, max_waiting=1000, log_format="json")
    url = re.search(r"on (http://[^/]+)", printed)[1]
    answers, late, signalled = {}, [], threading.Event()

    def ask(i):
        body = {"prompt": f"w{i}", "n": 3, "max_tokens": 100, "temperature": 2, "seed": i, "stream": i % 2 == 0}
        with httpx.Client(timeout=300) as client:
            answers[i] = client.post(url + "/v1/completions", json=body)
            assert signalled.wait(300)
            try:
                late.append(client.post(url + "/v1/completions", json=body).status_code)
            except httpx.TransportError:
                late.append(503)  # the connection was closed after its last answer, and no new one is taken

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(40)]
    for thread in threads:
        thread.start()
    wait_until(lambda: number(url, "moalign_accepted_answers_total") == 120)
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: refuses(url))
    assert len(answers) < 40
    signalled.set()
    go.touch()
    for thread in threads:
        thread.join(300)
    assert [answers[i].status_code for i in range(40)] == [200] * 40
    for i, answer in answers.items():
        assert '"error"' not in answer.text
        if i % 2:
            assert {choice["finish_reason"] for choice in answer.json()["choices"]} <= {"stop", "length"}
        else:
            assert answer.text.endswith("data: [DONE]\n\n")
    assert late == [503] * 40
    assert process.wait(120) == 0
    lines = [json.loads(line) for line in process.stdout.read().splitlines() if line.startswith("{")]
    finished = [line for line in lines if line.get("endpoint") == "/v1/completions" and line["status"] == 200]
    assert len(finished) == 40
    assert all(line["completion_tokens"] >= 3 and line["caller"] == "anyone" for line in finished)


def refuses(url):
    """Whether nothing listens any more, or nothing is taken."""
    try:
        return httpx.get(url + "/health/ready", timeout=120).status_code == 503
    except httpx.TransportError:
        return True


def number(url, name):
    """A number of `/metrics`."""
    text = httpx.get(url + "/metrics", timeout=120).text
    return float(re.search(rf"^{name} (\S+)$", text, re.MULTILINE)[1])


def test_serves_with_a_policy_and_says_so(start, tmp_path):
    key = add_key(tmp_path / "policy.yaml", "shop", {"preference": {"helpful": {"max": 0.6}}})
    process, printed = start(policy=str(tmp_path / "policy.yaml"), log_format="json")
    _, address, *rest = shlex.split(next(x for x in printed.splitlines() if x.startswith("curl")))
    headers = [tuple(x.split(": ")) for x in rest if ": " in x and not x.startswith("{")]
    assert ("Authorization", "Bearer YOUR_KEY") in headers
    assert httpx.post(address, content=rest[-1], headers=dict(headers), timeout=120).status_code == 401
    known = dict(headers) | {"Authorization": f"Bearer {key}"}
    answer = httpx.post(address, content=rest[-1], headers=known, timeout=120)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "preference_not_allowed")
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0
    errors = [json.loads(x).get("error") for x in process.stdout.read().splitlines() if x.startswith("{")]
    assert errors == ["invalid_api_key", "preference_not_allowed"]


def test_a_damaged_front_is_refused_before_listening(bundle, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    (damaged / "front.json").write_text('{"points": [')
    with pytest.raises(InputError, match=r"front\.json"):
        serve(damaged, port=0)


def test_a_missing_or_damaged_bundle_is_refused_before_listening(bundle, tmp_path):
    with pytest.raises(InputError, match="is no bundle"):
        serve(tmp_path)
    damaged = tmp_path / "damaged"
    shutil.copytree(bundle, damaged)
    with (damaged / "brief" / "adapter_model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match=r"brief/adapter_model.safetensors' was altered"):
        serve(damaged)


def test_what_goes_wrong_while_loading_ends_the_server(bundle, tmp_path):
    with pytest.raises(InputError, match="cannot load the base model"):
        serve(bundle, port=0, base=str(tmp_path / "nowhere"), device="cpu")


def test_a_taken_port_is_named(bundle):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen on host '127.0.0.1', port {port}: Address already in use"):
            serve(bundle, port=port)


@pytest.mark.parametrize(
    "settings",
    [{"port": 70_000}, {"dtype": "int8"}, {"drain_seconds": -1}, {"max_waiting": 0}, {"max_body_bytes": 0}, {"drain_seconds": float("nan")}],
)  # fmt: skip
def test_settings_are_checked(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        ServeConfig(**settings)


def test_every_setting_has_a_help_text():
    assert all(field.metadata["help"] for field in dataclasses.fields(ServeConfig))


def test_importing_the_package_is_cheap():
    code = "import sys, moalign.serving; assert not {'torch', 'fastapi', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_fastapi_says_what_to_install():
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "from frontier.errors import InputError\n"
        "try:\n    import moalign.serving.api\n"
        "except InputError as error:\n    print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'moalign[serve]'" in out


def test_an_open_server_answers_only_to_its_own_names(start, tmp_path):
    def statuses(**settings):
        _, printed = start(**settings)
        url = re.search(r"on (http://[^/]+)", printed)[1]
        port = url.rpartition(":")[2]
        hosts = (f"localhost:{port}", f"127.0.0.1:{port}", f"rebound.example:{port}")
        return [httpx.get(url + "/health/live", headers={"Host": host}, timeout=120).status_code for host in hosts]

    assert statuses() == [200, 200, 421]
    assert statuses(allow_anyone=True) == [200, 200, 200]
    add_key(tmp_path / "policy.yaml", "shop")
    assert statuses(policy=str(tmp_path / "policy.yaml")) == [200, 200, 200]
