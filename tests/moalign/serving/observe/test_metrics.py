import sys
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from frontier.errors import InputError
from moalign.serving.observe.metrics import Metrics
from moalign.serving.observe.record import Record


def samples(metrics):
    text = metrics.page("")[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def make(engine=None, ready=False):
    return Metrics(lambda: engine, lambda: ready)


def test_counts_a_request():
    metrics = make()
    metrics.begin()
    assert samples(metrics)["moalign_open_requests", ()] == 1
    record = Record(
        "id", endpoint="/v1/completions", status=200, caller="shop", preference={"weights": {"safe": 0.25}},
        source="user", prompt_tokens=5, completion_tokens=9, first_token_seconds=0.02, token_seconds=[0.004, 0.03], seconds=3.0,
    )  # fmt: skip
    metrics.end(record)
    found = samples(metrics)
    at = (("endpoint", "/v1/completions"),)
    assert found["moalign_open_requests", ()] == 0
    assert found["moalign_requests_total", (*at, ("status", "200"))] == 1
    assert found["moalign_request_seconds_sum", at] == 3
    assert found["moalign_request_seconds_bucket", (*at, ("le", "2.5"))] == 0
    assert found["moalign_request_seconds_bucket", (*at, ("le", "5.0"))] == 1
    assert found["moalign_first_token_seconds_bucket", (("le", "0.025"),)] == 1
    assert found["moalign_token_seconds_count", ()] == 2
    assert found["moalign_token_seconds_bucket", (("le", "0.005"),)] == 1
    assert (found["moalign_prompt_tokens_total", ()], found["moalign_completion_tokens_total", ()]) == (5, 9)
    assert found["moalign_preferences_total", (("source", "user"),)] == 1


def test_rejections_by_reason():
    metrics = make()
    for code in ("queue_full", "queue_full", "invalid_api_key"):
        metrics.begin()
        metrics.end(Record("id", status=429, code=code))
    found = samples(metrics)
    assert found["moalign_rejections_total", (("reason", "queue_full"),)] == 2
    assert found["moalign_rejections_total", (("reason", "invalid_api_key"),)] == 1
    assert ("moalign_first_token_seconds_count", ()) in found
    assert found["moalign_first_token_seconds_count", ()] == 0


def test_reads_the_engine_when_asked():
    stats = SimpleNamespace(running=3, waiting=2, cache_tokens=100, steps=7, tokens=21)
    engine = SimpleNamespace(stats=lambda: stats, max_total_tokens=4096)
    found = samples(make(engine, ready=True))
    assert {name: found[name, ()] for name in (
        "moalign_ready", "moalign_running_answers", "moalign_waiting_answers", "moalign_cache_tokens",
        "moalign_cache_capacity_tokens", "moalign_decode_steps_total", "moalign_generated_tokens_total",
    )} == {
        "moalign_ready": 1, "moalign_running_answers": 3, "moalign_waiting_answers": 2, "moalign_cache_tokens": 100,
        "moalign_cache_capacity_tokens": 4096, "moalign_decode_steps_total": 7, "moalign_generated_tokens_total": 21,
    }  # fmt: skip
    stats.running = 0
    assert samples(make(engine))["moalign_running_answers", ()] == 0
    assert samples(make())["moalign_ready", ()] == 0


def test_apps_do_not_share_numbers():
    one, other = make(), make()
    one.begin()
    assert samples(other)["moalign_open_requests", ()] == 0


def test_speaks_openmetrics_to_who_asks_for_it():
    content, media_type = make().page("application/openmetrics-text; version=1.0.0")
    assert media_type.startswith("application/openmetrics-text")
    assert content.endswith(b"# EOF\n")


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(InputError, match=r"pip install 'moalign\[serve\]', or set metrics: false"):
        make()
