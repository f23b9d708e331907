import asyncio

import pytest

from moalign.serving.observe.metered import MeteredStream
from moalign.serving.observe.record import DISCONNECTED, Record
from moalign.serving.request import Delta, GenerationFailed


class Source:
    """Pieces at given times."""

    def __init__(self, *pieces):
        self.pieces, self.now, self.cancelled = pieces, 0.0, 0

    async def __aiter__(self):
        for now, piece in self.pieces:
            self.now = now
            if isinstance(piece, Exception):
                raise piece
            yield piece

    def cancel(self):
        self.cancelled += 1


def run(source, choices):
    settled, record = [], Record("a", clock=lambda: source.now, prompt_tokens=7)
    stream = MeteredStream(source, choices, record, settled.append)

    async def read():
        return [delta async for delta in stream]

    error, seen = None, None
    try:
        seen = asyncio.run(read())
    except GenerationFailed as failed:
        error = failed
    stream.cancel()
    stream.cancel()
    assert source.cancelled == 2
    return record, settled, seen, error


def test_counts_and_times_each_answer():
    pieces = (
        (1.0, Delta(0, 0, "a", (5,))),
        (2.0, Delta(0, 1, "", (6,))),
        (3.0, Delta(0, 0, "bc", (7, 8), "length")),
        (5.0, Delta(0, 1, "d", (9,))),
        (6.0, Delta(0, 1, "", (), "stop")),
    )
    record, settled, seen, _ = run(Source(*pieces), 2)
    assert seen == [piece for _, piece in pieces]
    assert record.first_token_seconds == 1
    assert record.completion_tokens == 5
    assert record.token_seconds == [1.0, 3.0]  # two steps within 2 seconds, one within 3
    assert record.code is None
    assert settled == [12]


def test_an_answer_that_nobody_waited_for():
    record, settled, _, _ = run(Source((1.0, Delta(0, 0, "a", (5,)))), 1)
    assert (record.code, record.completion_tokens, settled) == (DISCONNECTED, 1, [8])


def test_an_error_passes():
    _, settled, _, error = run(Source((1.0, Delta(0, 0, "a", (5,))), (2.0, GenerationFailed("broken"))), 1)
    assert str(error) == "broken"
    assert settled == [8]


@pytest.mark.parametrize("code", ["generation_failed", "slow_reader"])
def test_a_known_reason_is_kept(code):
    record = Record("a", code=code)
    MeteredStream(Source(), 1, record, lambda tokens: None).cancel()
    assert record.code == code
