"""Preferences that run in a circle: a planted rock-paper-scissors set over real texts, and real preferences between four answers."""

import random
from collections.abc import Sequence
from statistics import fmean
from typing import Any

import torch

from benchmarks.report import Row, at_least
from benchmarks.reward_heads.context import Context
from benchmarks.reward_heads.sets import load_set
from reward_heads import pairwise_accuracy
from reward_heads.diagnose.intervals import Resampling, cluster_ids, mean_interval
from reward_heads.general_preference import GeneralPreferenceConfig, GeneralPreferenceModel, fit_preference_model
from reward_heads.probes import Embedder, ProbeConfig, ProbeReward, fit_probe

MAX_LENGTH = 160
# A line about a restaurant loses to a news summary, that to a story, and that to a restaurant again.
KINDS = ("restaurant", "news", "story")
WORDS = 25
OBJECTIVE = "preference"
# Draws of texts and pairs over which the scalar is averaged: what it makes of a circle is the noise of its pairs, another one in each.
DRAWS = 5
# A scalar that is no better than chance is within this of ½.
BAND = 0.05


def rows(context: Context) -> list[Row]:
    """General preference model against Bradley-Terry on the same frozen embeddings."""
    embedder = Embedder.from_pretrained(
        context.encoder, pooling="mean", max_length=MAX_LENGTH, dtype="bfloat16", cache=context.scratch / "embeddings"
    )
    return _planted(context, embedder) + _real(context, embedder)


def _planted(context: Context, embedder: Embedder) -> list[Row]:
    size, train_pairs, test_pairs = (40, 300, 300) if context.quick else (200, 1500, 1000)
    texts = _texts(context, size)
    half = size // 2
    scalars = []
    for draw in range(DRAWS):
        shuffled = [random.Random(draw).sample(column, size) for column in texts]
        train = _pairs([column[:half] for column in shuffled], train_pairs, seed=2 * draw)
        test = _pairs([column[half:] for column in shuffled], test_pairs, seed=2 * draw + 1)
        scalar = fit_probe(embedder, train, ProbeConfig(objectives=(OBJECTIVE,), uncertainty=False))
        scalars.append(pairwise_accuracy(scalar, test)[OBJECTIVE].accuracy)
    bradley_terry = fmean(scalars)
    model = fit_preference_model(embedder, train, GeneralPreferenceConfig(blocks=2))
    general = model.accuracy(test)[OBJECTIVE].accuracy
    each = ", ".join(f"{value:.3f}" for value in scalars)
    what = (
        f"{test_pairs} planted pairs of held-out texts (restaurants < news < stories < restaurants), frozen embeddings"
    )
    return [
        Row(
            "cyclic.accuracy.general",
            f"general preference model; {what}",
            general,
            peer="Bradley-Terry",
            peer_value=bradley_terry,
            **at_least(0.95, general),
        ),
        Row(
            "cyclic.accuracy.bradley_terry",
            f"scalar reward on the same embeddings, mean of {DRAWS} draws of texts and pairs ({each}); {what}",
            bradley_terry,
            bar=f"{0.5 - BAND:g} .. {0.5 + BAND:g}",
            holds=abs(bradley_terry - 0.5) <= BAND,
        ),
    ]


def _real(context: Context, embedder: Embedder) -> list[Row]:
    real = load_set(context.loaders, "qa_feedback")
    documents = sorted({row["document"] for row in real.rows})
    random.Random(0).shuffle(documents)
    documents = documents[: len(documents) // 12] if context.quick else documents
    kept, out = set(documents), set(documents[: round(0.3 * len(documents))])
    pairs = [
        {**row, "labels": {OBJECTIVE: row["labels"]["overall"]}}
        for row in real.rows
        if row["document"] in kept and row.get("labels", {}).get("overall") is not None
    ]
    train = [row for row in pairs if row["document"] not in out]
    test = [row for row in pairs if row["document"] in out and row["labels"][OBJECTIVE] != 0.5]
    model = fit_preference_model(embedder, train, GeneralPreferenceConfig(weight_decay=1e-2))
    scalar = fit_probe(embedder, train, ProbeConfig(objectives=(OBJECTIVE,), uncertainty=False))
    found = []
    for name, fitted in (("general", model), ("bradley_terry", scalar)):
        right = _right(fitted, test)
        clusters = cluster_ids([row["document"] for row in test], len(test))
        estimate = mean_interval(right.double().numpy(), clusters, Resampling())
        what = f"qa_feedback, which of two answers is better: {len(test)} pairs of {len(out)} held-out questions; interval over questions; no bar"
        found.append(Row(f"cyclic.qa_feedback.{name}", what, estimate.value, interval=[estimate.low, estimate.high]))
    return found


def _right(model: GeneralPreferenceModel | ProbeReward, pairs: Sequence[dict[str, Any]]) -> torch.Tensor:
    """`[N]`: 1 where a pair is ranked as labelled, 0.5 for equal scores."""
    prompts, a, b = ([row[field] for row in pairs] for field in ("prompt", "completion_a", "completion_b"))
    if isinstance(model, GeneralPreferenceModel):
        difference = model.log_odds(prompts, a, b)[:, 0]
    else:
        difference = model.score(prompts, a)[:, 0] - model.score(prompts, b)[:, 0]
    labels = torch.tensor([row["labels"][OBJECTIVE] for row in pairs])
    return 0.5 + 0.5 * difference.sign() * (labels - 0.5).sign()


def _texts(context: Context, size: int) -> list[list[str]]:
    """Distinct texts of the three kinds."""
    readers = (
        [row["text"] for row in context.loaders.data2text("SFRES")],
        [row["text"] for row in context.loaders.summeval()],
        [row["text"] if isinstance(row, dict) else row for row in context.loaders.tinystories()],
    )
    found = []
    for texts in readers:
        distinct = sorted({" ".join(text.split()[:WORDS]) for text in texts})
        found.append(random.Random(0).sample(distinct, size))
    return found


def _pairs(texts: Sequence[Sequence[str]], count: int, seed: int) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        first, second = rng.sample(range(len(KINDS)), 2)
        texts_of = {"completion_a": rng.choice(texts[first]), "completion_b": rng.choice(texts[second])}
        found.append({"prompt": "", **texts_of, "labels": {OBJECTIVE: float((first - second) % 3 == 1)}})
    return found
