import json
import logging

import pytest

from moalign.serving.observe.logs import current_request, log_request, logging_to_stderr
from moalign.serving.observe.record import Record

EVIL = 'a\nINFO forged\r\u2028"x=1'


def written(capsys, kind, act):
    with logging_to_stderr(kind):
        act()
    return capsys.readouterr().err


def make(**fields):
    return Record("abc", method="POST", endpoint="/v1/completions", seconds=0.25, **fields)


def test_a_request_as_json(capsys):
    record = make(status=200, caller="shop", preference={"weights": {"safe": 1.0}}, source="gate")
    [line] = written(capsys, "json", lambda: log_request(record)).splitlines()
    found = json.loads(line)
    assert found.pop("time").endswith("+00:00")
    assert found == {"level": "info", "message": "request", **record.fields()}


def test_a_request_as_text(capsys):
    [line] = written(capsys, "text", lambda: log_request(make(status=503, code="unavailable"))).splitlines()
    assert line.split(" ", 1)[1] == (
        "warning request request_id=abc method=POST endpoint=/v1/completions status=503 seconds=0.25 error=unavailable"
    )


@pytest.mark.parametrize("kind", ["json", "text"])
def test_nothing_that_is_logged_breaks_its_line(capsys, kind):
    def act():
        log_request(make(prompts=[EVIL]))
        logging.getLogger("moalign.serving.x").warning("client says %s", EVIL)

    lines = written(capsys, kind, act).splitlines()
    assert len(lines) == 2
    assert not any(line.startswith("INFO") for line in lines)


@pytest.mark.parametrize(("endpoint", "status", "lines"), [
    ("/health/live", 200, 0), ("/health/ready", 503, 0), ("/metrics", 200, 0), ("/metrics", 401, 1), ("/health/live", 500, 1),
])  # fmt: skip
def test_probes_are_not_worth_a_line_unless_they_fail(capsys, endpoint, status, lines):
    record = Record("a", endpoint=endpoint, status=status)
    assert len(written(capsys, "json", lambda: log_request(record)).splitlines()) == lines


def test_what_happens_during_a_request_carries_its_id(capsys):
    def act():
        token = current_request.set("abc")
        try:
            1 / 0
        except ZeroDivisionError:
            logging.getLogger("moalign.serving.x").exception("broken")
        current_request.reset(token)

    found = json.loads(written(capsys, "json", act))
    assert (found["request_id"], found["logger"], found["level"]) == ("abc", "moalign.serving.x", "error")
    assert "ZeroDivisionError" in found["traceback"]


def test_loggers_are_left_as_they_were(capsys):
    before = [(log.level, log.propagate, list(log.handlers)) for log in map(logging.getLogger, ("moalign", "uvicorn"))]
    written(capsys, "json", lambda: None)
    assert before == [
        (log.level, log.propagate, list(log.handlers)) for log in map(logging.getLogger, ("moalign", "uvicorn"))
    ]
