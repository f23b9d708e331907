"""Other ways to serve the same requests at 16 clients: static batches, merging for every request, `transformers serve`, llama.cpp."""

import functools
import itertools
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from benchmarks.report import Row, at_least
from benchmarks.serving.context import Context
from benchmarks.serving.load import Ask, closed_loop, workload
from benchmarks.serving.models import NAMES, Merged, policy
from benchmarks.serving.rounds import shuffled_rounds
from benchmarks.serving.server import moalign_server, transformers_server
from moalign.policy import SteerablePolicy

CLIENTS = 16
REQUESTS = 32
# What works on one request at a time has the same rate after a few of them.
FEW = 6
ROUNDS = 4
MERGE_BAR = 3.0
Texts = list[str]


def rows(context: Context) -> list[Row]:
    """Our rate of tokens over each peer's, in the same run, and whether they give the same answers."""
    folder, rounds = context.models(), 1 if context.quick else ROUNDS
    count, few = (8, 2) if context.quick else (REQUESTS, FEW)
    with ExitStack() as stack:
        ours = stack.enter_context(moalign_server(folder, "all"))
        static = policy(folder, "all")
        stack.enter_context(static.mixture.frozen())
        merged = Merged(policy(folder, "all"))
        answer: dict[str, Callable[[Sequence[Ask]], Texts]] = {
            "ours": lambda asks: [a.text for a in closed_loop(ours, asks, CLIENTS)],
            "static": lambda asks: in_static_batches(static, asks, CLIENTS),
            "merged": lambda asks: one_by_one(merged, asks[:few]),
        }
        why = ""
        try:
            options = ["--continuous-batching"] if torch.cuda.is_available() else []
            other = stack.enter_context(transformers_server(folder, options))
            plain = closed_loop(other, workload(1, 1, mixed=True, vocabulary=context.size.vocabulary), 1, extra=False)
            assert plain
            answer["transformers"] = lambda asks: [a.text for a in closed_loop(other, asks[:few], few, extra=False)]
        except Exception as error:  # optional: the other peers are still worth their time
            why = f"{type(error).__name__}: {error}"
        rates, texts = _measure(answer, context.size.vocabulary, count, rounds)
    return [*_rows(rates, why), _same(texts), _not_run()]


def _measure(
    answer: dict[str, Callable[[Sequence[Ask]], Texts]], vocabulary: int, count: int, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[Texts]]]:
    """Tokens per second of each in each round, and what they answered."""
    texts: dict[str, list[Texts]] = {name: [] for name in answer}

    def run(name: str, seeds: Any) -> None:
        asks = workload(count, next(seeds), mixed=True, vocabulary=vocabulary)
        texts[name].append(answer[name](asks))

    seeds = {name: itertools.count(50_000) for name in answer}
    seconds = shuffled_rounds({name: functools.partial(run, name, seeds[name]) for name in answer}, rounds)
    rates = {}
    for name, some in seconds.items():
        # A word is a token.
        tokens = [sum(len(text.split()) for text in one) for one in texts[name][-rounds:]]
        rates[name] = [n / s for n, s in zip(tokens, some, strict=True)]
    return rates, texts


@torch.no_grad()
def in_static_batches(policy: SteerablePolicy, asks: Sequence[Ask], size: int) -> Texts:
    """Transformers' `generate` on batches in order of arrival, steered per row as ours; each batch takes as long as its longest answer. No HTTP."""
    texts = []
    for start in range(0, len(asks), size):
        batch = asks[start : start + size]
        ids, mask = policy.pad_left(policy.encode([a.prompt for a in batch]))
        longest = max(a.max_tokens for a in batch)
        with policy.steer_rows(torch.tensor([_weights(a) for a in batch])):
            output = policy.base.generate(  # type: ignore[operator]
                input_ids=ids, attention_mask=mask, max_new_tokens=longest, do_sample=False, pad_token_id=0
            )
        for row, ask in zip(output[:, ids.shape[1] :].tolist(), batch, strict=True):
            texts.append(str(policy.tokenizer.decode(row[: ask.max_tokens])))
    return texts


@torch.no_grad()
def one_by_one(merged: Merged, asks: Sequence[Ask]) -> Texts:
    """One request at a time: merge its weights into the model, then `generate`. No HTTP."""
    texts = []
    for ask in asks:
        ids, mask = merged.policy.pad_left(merged.policy.encode([ask.prompt]))
        with merged.at(torch.tensor(_weights(ask))) as model:
            output = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=ask.max_tokens, do_sample=False, pad_token_id=0
            )
        texts.append(str(merged.policy.tokenizer.decode(output[0, ids.shape[1] :].tolist())))
    return texts


def _weights(ask: Ask) -> list[float]:
    return [ask.preference[name] for name in NAMES]


def _rows(rates: dict[str, list[float]], why: str) -> list[Row]:
    at = f"{CLIENTS} clients, all weights different, over HTTP"
    found = []
    for name, id_, what, bar in (
        ("static", "over_static", "generate on static batches of 16, steered per row as ours, without HTTP", None),
        ("merged", "over_merge_per_request", "merging for every request and generate, one after the other, without HTTP", MERGE_BAR),
        ("transformers", "over_transformers_serve", "`transformers serve` over the base model without adapters", None),
    ):  # fmt: skip
        id_ = f"{id_}.{CLIENTS}"
        if name not in rates:
            found.append(Row(id_, f"not run: {what} did not start here ({why})", None))
            continue
        ratios = [a / b for a, b in zip(rates["ours"], rates[name], strict=True)]
        value, peer = statistics.median(ratios), statistics.median(rates[name])
        held = {} if bar is None else at_least(bar, value)
        text = f"our tokens/s ({at}) over {what}"
        found.append(Row(id_, text, value, "", [min(ratios), max(ratios)], "tokens/s", peer, **held))
    return found


def _same(texts: dict[str, list[Texts]]) -> Row:
    """Greedy answers of those that compute the same function."""
    pairs = [
        (mine, theirs)
        for name in ("static", "merged")
        for ours, other in zip(texts["ours"], texts[name], strict=True)
        for mine, theirs in zip(ours, other, strict=False)  # some answer only the first few
    ]
    value = sum(mine == theirs for mine, theirs in pairs) / len(pairs)
    what = f"share of {len(pairs)} greedy answers that are the same, word for word, in static batches or merged"
    held = {} if torch.cuda.is_available() else at_least(0.95, value)  # half precision decides ties by rounding
    return Row("peers.same_answers", what, value, "", **held)


def _not_run() -> Row:
    what = "not run: llama.cpp's server with a scale per adapter and request comes as C++ sources only (no wheel in the registry), and reads another format of weights"
    return Row(f"over_llama_cpp.{CLIENTS}", what, None)
