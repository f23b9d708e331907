"""Texts per second: batches of like length against batches as they come, and embeddings from disk against computing them again."""

import random
import statistics
from collections.abc import Callable
from time import perf_counter
from types import ModuleType

from benchmarks.report import Row, at_least
from benchmarks.reward_heads.context import Context

BATCH = 32
MAX_LENGTH = 256
Pairs = list[tuple[str, str]]


def rows(context: Context) -> list[Row]:
    """Both comparisons on the same real texts, one after the other, in this process."""
    texts = _texts(context.loaders, 64 if context.quick else 256)
    return [_scoring(context, texts, 1 if context.quick else 2), *_cache(context, texts[: len(texts) // 2])]


def _texts(loaders: ModuleType, n: int) -> Pairs:
    """Summaries and long-form answers in random order: lengths from a few words to a few hundred."""
    found = [(" ".join(r["src"].split()[: 10 * (i % 9)]) + "\n", r["text"]) for i, r in enumerate(loaders.summeval())]
    found += [(r["question"] + " ", r[f"prediction {i}"]) for r in loaders.qa_feedback() for i in (1, 2)]
    return random.Random(0).sample(sorted(set(found)), n)


def _scoring(context: Context, texts: Pairs, repeats: int) -> Row:
    from reward_heads import TransformerReward

    reward = TransformerReward.from_base(context.encoder, ["a", "b", "c"], batch_size=BATCH, max_length=MAX_LENGTH)
    prompts, completions = [prompt for prompt, _ in texts], [completion for _, completion in texts]

    def naive() -> None:
        for start in range(0, len(texts), BATCH):  # one batch a call leaves nothing to sort
            reward.score(prompts[start : start + BATCH], completions[start : start + BATCH])

    reward.score(prompts[:BATCH], completions[:BATCH])
    times = _alternating(naive, lambda: reward.score(prompts, completions), repeats)
    slow, fast = (len(texts) / statistics.median(t) for t in times)
    ratios = sorted(a / b for a, b in zip(*times, strict=True))
    return Row(
        "speed.scoring.sorted_over_naive",
        f"three heads on MiniLM, {len(texts)} texts of up to {MAX_LENGTH} tokens in batches of {BATCH}: {fast:.1f} texts/s in batches of like length, {slow:.1f} texts/s in the given order",
        fast / slow,
        "times",
        interval=[ratios[0], ratios[-1]] if repeats > 1 else None,
        peer="naive batches, texts/s",
        peer_value=slow,
        **at_least(1.0, fast / slow),
    )


def _cache(context: Context, texts: Pairs) -> list[Row]:
    from tempfile import TemporaryDirectory

    from reward_heads.probes import Embedder

    prompts, completions = [prompt for prompt, _ in texts], [completion for _, completion in texts]
    with TemporaryDirectory(dir=context.scratch) as folder:
        embedder = Embedder.from_pretrained(context.encoder, cache=folder, batch_size=BATCH, max_length=MAX_LENGTH)
        embedder.model, embedder.fingerprint  # noqa: B018 - loaded and hashed before the clock starts
        started = perf_counter()
        computed = embedder.embed(prompts, completions)
        recompute = perf_counter() - started
        hits = []
        for _ in range(5):
            started = perf_counter()
            found = embedder.embed(prompts, completions)
            hits.append(perf_counter() - started)
            assert found.equal(computed)
            assert embedder.computed == len(texts)
    hit = statistics.median(hits)
    return [
        Row(
            "speed.cache.hit_over_recompute",
            f"embeddings of {len(texts)} texts by MiniLM: {len(texts) / hit:.0f} texts/s from disk, {len(texts) / recompute:.1f} texts/s computed and stored; the same numbers",
            recompute / hit,
            "times",
            interval=[recompute / max(hits), recompute / min(hits)],
            peer="computed, texts/s",
            peer_value=len(texts) / recompute,
            **at_least(50.0, recompute / hit),
        )
    ]


def _alternating(
    first: Callable[[], object], second: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    """Seconds of both, in turn, so that a busy machine slows both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for action, found in ((first, times[0]), (second, times[1])):
            started = perf_counter()
            action()
            found.append(perf_counter() - started)
    return times
