import json
import math

import torch

from moalign.serving.formats import AnswerFormat
from moalign.serving.request import Completion, Delta, GenerationRequest, TokenLogprob, TokenLogprobs

HALF = {"weights": {"helpful": 0.5, "brief": 0.5}}


def make_format(kind, logprobs=2, n=1):
    return AnswerFormat(kind, "tiny", [GenerationRequest([1, 2], torch.ones(2) / 2, n=n, logprobs=logprobs)], [HALF])


def token(number, text, logprob, *top, offset=0):
    return TokenLogprobs(number, text, logprob, tuple(TokenLogprob(*other) for other in top), offset)


TOKENS = (
    token(5, "ab", -0.5, (5, "ab", -0.5), (6, "c", -1.5)),
    token(7, " é", -3.0, (5, "ab", -0.1), (6, "c", -2.0), offset=3),
    token(1, "<eos>", -math.inf, (8, "\ufffd", -0.2), (9, "\ufffd", -0.9), offset=5),
)


def test_completions_tell_logprobs_as_openai_does():
    [choice] = make_format("completion").whole([[Completion("ab é", (5, 7, 1), "stop", TOKENS)]])["choices"]
    assert choice["logprobs"] == {
        "tokens": ["ab", " é", "<eos>"],
        "token_logprobs": [-0.5, -3.0, -9999.0],
        "top_logprobs": [
            {"ab": -0.5, "c": -1.5},
            {"ab": -0.1, "c": -2.0, " é": -3.0},  # the chosen one is always told
            {"\ufffd": -0.2, "<eos>": -9999.0},
        ],
        "text_offset": [0, 3, 5],  # as the tokens have it: their texts alone need not join to the answer
    }


def test_chat_tells_logprobs_as_openai_does():
    [choice] = make_format("chat").whole([[Completion("ab é", (5, 7, 1), "stop", TOKENS)]])["choices"]
    first, second, third = choice["logprobs"]["content"]
    assert choice["logprobs"]["refusal"] is None
    assert first["top_logprobs"] == [
        {"token": "ab", "logprob": -0.5, "bytes": [97, 98]},
        {"token": "c", "logprob": -1.5, "bytes": [99]},
    ]
    assert (second["token"], second["bytes"]) == (" é", [32, 195, 169])
    assert third["logprob"] == -9999.0
    assert third["top_logprobs"][0]["bytes"] is None


def test_streams_tell_the_same_in_pieces():
    for kind in ("completion", "chat"):
        deltas = [
            Delta(0, 0, "", (5,), None, TOKENS[:1]),  # held back: it may begin a stop text
            Delta(0, 0, "ab é", (7,), None, TOKENS[1:2]),
            Delta(0, 0, "", (1,), "stop", TOKENS[2:]),
        ]
        answer = make_format(kind)
        chunks = [chunk["choices"][0] for delta in deltas for chunk in answer.chunks(delta)]
        [whole] = make_format(kind).whole([[Completion("ab é", (5, 7, 1), "stop", TOKENS)]])["choices"]
        told = [chunk["logprobs"] for chunk in chunks if chunk["logprobs"]]
        for name, values in whole["logprobs"].items():
            if values is not None:
                assert [value for piece in told for value in piece[name]] == values
        assert chunks[-1]["finish_reason"] == "stop"
        json.dumps(chunks, allow_nan=False)


def test_nothing_is_told_unless_asked():
    for kind in ("completion", "chat"):
        answer = make_format(kind, logprobs=None)
        assert answer.whole([[Completion("ab", (5,), "stop")]])["choices"][0]["logprobs"] is None
        assert all(c["choices"][0]["logprobs"] is None for c in answer.chunks(Delta(0, 0, "a", (5,), "stop")))


def test_logprobs_without_alternatives():
    bare = (token(5, "ab", -0.5),)
    [choice] = make_format("completion", 0).whole([[Completion("ab", (5,), "length", bare)]])["choices"]
    assert choice["logprobs"]["top_logprobs"] == [None]
    [choice] = make_format("chat", 0).whole([[Completion("ab", (5,), "length", bare)]])["choices"]
    assert choice["logprobs"]["content"][0]["top_logprobs"] == []
