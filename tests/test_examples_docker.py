"""The files of examples/docker fit together and fit the server; Docker itself is not run."""

import http.server
import importlib.util
import re
import shlex
import signal
import threading
from pathlib import Path

import pytest
import yaml

from moalign.cli.command import parse
from moalign.cli.serve_keys import KeyOptions, run
from moalign.cli.verbs.serve import ServeOptions, command
from moalign.serving.access import read_policy
from moalign.serving.run import ServeConfig

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "docker"
ROOT = FOLDER.parents[1]


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((FOLDER / "compose.yaml").read_text())


def test_every_service_has_an_image_and_what_it_refers_to_exists(compose):
    assert set(compose["services"]) == {"server", "database", "prometheus"}
    for service in compose["services"].values():
        assert ("image" in service) != ("build" in service)
        assert ":latest" not in service.get("image", ":latest" if "image" in service else "")
        for volume in service["volumes"]:
            source = re.sub(r"\$\{[^}]*\}", "./config", volume).split(":")[0]
            assert source in compose["volumes"] or source.startswith("./")
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        assert set(service.get("depends_on", ())) <= set(compose["services"])
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:")  # nothing is open to the network as it stands
    assert "healthcheck" in compose["services"]["database"]


def test_no_secret_stands_in_the_files(compose):
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if "PASSWORD" in name or "SECRET" in name:
                assert re.fullmatch(r"\$\{\w+:\?.*\}", value)


def test_the_server_understands_its_command(compose, tmp_path):
    server = compose["services"]["server"]
    arguments = [re.sub(r"\$\{[^}]*\}", "x", word) for word in server["command"]]
    (tmp_path / "serve.yaml").write_text((FOLDER.parent / "serve.yaml").read_text())
    arguments[arguments.index("/config/serve.yaml")] = str(tmp_path / "serve.yaml")
    values = parse(command(), arguments)
    config = values.build(ServeConfig)
    assert config.database == "postgresql://moalign:x@database/moalign"
    assert values.build(ServeOptions).bundle
    assert int(server["stop_grace_period"].removesuffix("s")) > config.drain_seconds + 5  # what uvicorn waits besides
    assert server["ports"] == [f"127.0.0.1:8000:{config.port}"]


def test_the_image_installs_what_is_there_and_starts_the_server(compose):
    text = (FOLDER / "Dockerfile").read_text()
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    assert lines[0].startswith("FROM python:3.")
    assert (FOLDER / compose["services"]["server"]["build"]["context"]).resolve() == ROOT
    assert (ROOT / compose["services"]["server"]["build"]["dockerfile"]).is_file()
    for line in lines:
        if line.startswith("COPY"):
            assert all((ROOT / source).exists() for source in shlex.split(line)[1:-1])
    users = [i for i, line in enumerate(lines) if line.startswith("USER")]
    assert users
    assert not any(line.startswith("RUN") for line in lines[users[0] :])  # nothing as root afterwards
    assert 'ENTRYPOINT ["moalign", "serve"]' in lines
    [check] = [line for line in lines if line.startswith("HEALTHCHECK")]
    [copied] = [shlex.split(line) for line in lines if line.startswith("COPY examples/docker/healthcheck.py")]
    assert copied[-1] in check
    # A volume has the owner of the folder that it hides: whoever serves must be able to write there.
    made = next(line for line in lines if "useradd" in line)
    environment = compose["services"]["server"]["environment"]
    for volume in compose["services"]["server"]["volumes"]:
        source, target = re.sub(r"\$\{[^}]*\}", ".", volume).split(":")[:2]
        if source in compose["volumes"]:
            assert f"install -d -o moalign -g moalign {target}" in made
            assert environment["HF_HOME"] == target


class Probes(http.server.BaseHTTPRequestHandler):
    """A server of which only the health is known."""

    def do_GET(self):
        self.send_response(self.server.answers[self.path])
        self.end_headers()

    def log_message(self, *_):
        """Be quiet."""


@pytest.mark.parametrize(("live", "ready", "ended"), [(200, 200, False), (200, 503, False), (503, 503, True)])
def test_the_health_check_ends_a_server_that_only_a_new_start_helps(monkeypatch, live, ready, ended):
    spec = importlib.util.spec_from_file_location("healthcheck", FOLDER / "healthcheck.py")
    healthcheck = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(healthcheck)
    killed = []
    monkeypatch.setattr(healthcheck.os, "kill", lambda *what: killed.append(what))
    with http.server.HTTPServer(("127.0.0.1", 0), Probes) as server:
        server.answers = {"/health/live": live, "/health/ready": ready}
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/health/"
        assert healthcheck.check(1, url) is (ready == 200)
        server.shutdown()
        thread.join()
    assert killed == ([(1, signal.SIGTERM)] if ended else [])
    assert healthcheck.check(1, url) is False  # nothing listens
    assert healthcheck.URL == "http://127.0.0.1:8000/health/"


def test_prometheus_reads_the_server_with_the_key_that_it_is_given(compose):
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
    [job] = config["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["static_configs"] == [{"targets": ["server:8000"]}]
    [secret] = compose["services"]["prometheus"]["secrets"]
    assert job["authorization"] == {"type": "Bearer", "credentials_file": f"/run/secrets/{secret}"}


def test_the_commands_of_the_comments_make_keys(tmp_path, capsys):
    comments = (FOLDER / "compose.yaml").read_text() + (FOLDER.parent / "serve.yaml").read_text()
    found = re.findall(r"moalign serve keys add [^\n>`]*", comments)
    assert len(found) == 3
    path = tmp_path / "policy.yaml"
    for line in found[:2]:
        words = shlex.split(line)[3:]
        words[words.index("--policy") + 1] = str(path)
        assert run(words) == 0
    callers = {caller.name: caller for caller in read_policy(path).callers.values()}
    assert callers["prometheus"].paths == ("/metrics",)
    assert callers["shop"].preference["safety"].min == 0.2
    assert len(capsys.readouterr().out.split()) == 2
    assert KeyOptions("p", "n").limits() == {}
