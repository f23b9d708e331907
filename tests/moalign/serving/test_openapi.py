"""The description of the API, and thousands of requests made from it."""

from collections import Counter

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from frontier.front import FrontPoint, ParetoFront
from moalign.serving.access import Access, add_key
from moalign.serving.api import create_app
from moalign.serving.service import Limits

CASES = 2400
WITH_BODY = ("POST", "PUT", "PATCH")
# Shares of the cases: a request with a body has more to get wrong.
PARTS = {False: 1, True: 8}


def test_tells_every_error_and_the_key(policy, tmp_path):
    add_key(tmp_path / "policy.yaml", "x")
    document = create_app(policy, model_name="tiny", access=Access(tmp_path / "policy.yaml")).openapi()
    assert document["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            statuses = set(operation["responses"])
            assert "422" not in statuses
            assert {"400", "429", "500", "503"} <= statuses
            assert (
                ("401" in statuses)
                is ("403" in statuses)
                is ("security" in operation)
                is (not path.startswith("/health"))
            ), path
            assert ("413" in statuses) is ("requestBody" in operation)
    assert "text/event-stream" in document["paths"]["/v1/completions"]["post"]["responses"]["200"]["content"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_without_a_policy_no_key_is_told_of(policy):
    document = create_app(policy, model_name="tiny").openapi()
    assert "securitySchemes" not in document["components"]
    assert "401" not in document["paths"]["/v1/models"]["get"]["responses"]


def test_every_reference_leads_somewhere(policy):
    document = create_app(policy, model_name="tiny").openapi()

    def references(node):
        if isinstance(node, dict):
            yield from ([node["$ref"]] if "$ref" in node else [])
            node = list(node.values())
        if isinstance(node, list):
            for child in node:
                yield from references(child)

    found = set(references(document))
    assert "#/components/schemas/Error" in found
    assert {ref.rsplit("/", 1)[1] for ref in found} <= set(document["components"]["schemas"])


def make_front():
    """So that more of the API has something to work on."""
    points = []
    for i in range(4):
        weights = {"weights": {"helpful": i / 3, "brief": 1 - i / 3}}
        points.append(FrontPoint((i / 3, 1 - (i / 3) ** 2), (0.1, 0.1), 32, weights))
    return ParetoFront(("helpful", "brief"), tuple(points))


@pytest.mark.slow
def test_no_request_makes_the_server_fail(policy, start_server, tmp_path):
    key = add_key(tmp_path / "policy.yaml", "fuzzer")
    limits = Limits(max_new_tokens=4, max_choices=3)
    with start_server(policy, access=Access(tmp_path / "policy.yaml"), limits=limits, front=make_front()) as server:
        headers = {"Authorization": f"Bearer {key}"}
        server.wait_until_ready()
        document = httpx.get(server.url + "/openapi.json", headers=headers, timeout=120).json()
        schema = schemathesis.openapi.from_dict(document)
        operations = [found.ok() for found in schema.get_all_operations()]
        statuses, failures = Counter(), []
        total = sum(PARTS[o.method.upper() in WITH_BODY] for o in operations)
        with httpx.Client(base_url=server.url, headers=headers, timeout=120) as client:
            for operation in operations:
                bodied = operation.method.upper() in WITH_BODY
                modes = schemathesis.GenerationMode
                count = -(-CASES * PARTS[bodied] // total // (1 + bodied))
                for mode in (modes.POSITIVE, modes.NEGATIVE)[: 1 + bodied]:
                    fuzz(client, operation, mode, count, statuses, failures)
        assert not failures, failures[:5]
        assert sum(statuses.values()) >= 2000, statuses
        assert statuses[200] > 100, statuses
        assert httpx.get(server.url + "/health/ready", timeout=120).status_code == 200


def fuzz(client, operation, mode, count, statuses, failures):
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=count, phases=[Phase.explicit, Phase.generate], deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    def ask(case):
        answer = send(client, case)
        if answer is None:
            return
        status = answer.status_code
        statuses[status] += 1
        # 504 is what a timeout of a nanosecond asks for; a method that schemathesis made up has no description.
        failed = status >= 500 and status != 504
        if failed or not (str(status) in operation.definition.raw["responses"] or status == 405):
            failures.append((operation.label, status, answer.text[:200], str(case.body)[:300]))

    ask()


def send(client, case):
    """The request, as schemathesis would write it; `None` where an HTTP client cannot even write it."""
    made = case.as_transport_kwargs(base_url=str(client.base_url))
    allowed = ("method", "url", "headers", "cookies", "params", "json", "data")
    given = {name: value for name, value in made.items() if name in allowed and value is not None}
    given["content"] = given.pop("data", None)
    given["headers"] = {k: v for k, v in dict(given.pop("headers", {})).items() if k.lower() != "authorization"}
    given.pop("cookies", None)
    if given.get("content") is None:
        given.pop("content", None)
    try:
        return client.request(**given)
    except (httpx.InvalidURL, httpx.LocalProtocolError, UnicodeError, TypeError, ValueError):
        return None
