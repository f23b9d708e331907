import re

import pytest

from moalign.serving.observe.record import Record, record_of, request_id


@pytest.mark.parametrize("sent", [b"abc-123", b"A.b_c:9", b"x" * 128])
def test_a_sane_id_is_kept(sent):
    assert request_id(sent) == sent.decode()


@pytest.mark.parametrize("sent", [None, b"", b"x" * 129, b"a b", b"a\nb", b'a"b', b"\xc3\xa9", b"{}", b"a\n"])
def test_any_other_is_replaced(sent):
    made = request_id(sent)
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert made != request_id(sent)


def test_a_line_has_what_is_known():
    times = iter([10.0, 10.5])
    record = Record("a", clock=lambda: next(times), endpoint="/v1/models", status=200, caller="shop")
    record.seconds = record.elapsed()
    assert record.fields() == {
        "request_id": "a", "method": "", "endpoint": "/v1/models", "status": 200, "seconds": 0.5, "caller": "shop",
    }  # fmt: skip
    record.token_seconds = [0.1, 0.3]
    record.completion_tokens = 0
    assert (record.fields()["token_seconds"], record.fields()["completion_tokens"]) == (0.2, 0)


def test_finds_the_record_of_a_request():
    record = Record("a")
    assert record_of({"state": {"record": record}}) is record
    assert record_of({}) is None
