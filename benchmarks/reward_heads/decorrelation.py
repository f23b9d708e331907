"""How far rewards follow the length of real responses, before and after decorrelation, from models that were exported and loaded again."""

import random
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import torch

from benchmarks.report import Row, at_most
from benchmarks.reward_heads.context import Context
from benchmarks.reward_heads.sets import RealSet, load_set, texts_of
from benchmarks.reward_heads.training import LAYERS, keep_layers
from reward_heads import TransformerReward
from reward_heads.decorrelate import DecorrelationReport, Length, erase_length, fit_decorrelation, spearman
from reward_heads.decorrelate.head import head_inputs, with_head
from reward_heads.decorrelate.texts import read_texts
from reward_heads.diagnose.intervals import Resampling, cluster_ids, resampled_rows
from reward_heads.loading import load_tokenizer
from reward_heads.probes import Embedder, ProbeConfig, fit_heads, fit_probe
from reward_heads.saved import load_reward, save_reward

SET = "hh_dual"
MAX_LENGTH = 160
# `load_set` cuts responses to so many.
WORDS = 60
# Correlations of n responses scatter by 1/sqrt(n) in the fit and again in the judgement, so both get as many as there are: halves, drawn anew so often.
HALVINGS, QUICK_HALVINGS = 10, 2
# The heads learn from this share of the documents; decorrelation is fitted and judged on the others, because a head follows what it has memorised in another way.
TRAIN = 0.3
BAR = 0.05
Rows = list[dict[str, Any]]


def rows(context: Context) -> list[Row]:
    """Probes with a curve over length, on random halves; and one plain sequence classifier with length erased from its head."""
    real = load_set(context.loaders, SET)
    documents = sorted({row["document"] for row in real.rows})
    random.Random(0).shuffle(documents)
    documents = documents[: len(documents) // 16] if context.quick else documents
    count = round(TRAIN * len(documents))
    train, others = _of(real, documents[:count]), documents[count:]
    return _probes(context, real, train, others) + _plain(context, real, train, others)


def _probes(context: Context, real: RealSet, train: Rows, documents: Sequence[str]) -> list[Row]:
    embedder = Embedder.from_pretrained(
        context.encoder,
        pooling="mean",
        layer=LAYERS,
        max_length=MAX_LENGTH,
        dtype="bfloat16",
        cache=context.scratch / "embeddings",
    )
    reward = fit_probe(embedder, train, ProbeConfig(objectives=real.objectives, uncertainty=False))
    reports: list[DecorrelationReport] = []
    after: list[list[float]] = []
    errors: list[list[float]] = []
    for halving in range(QUICK_HALVINGS if context.quick else HALVINGS):
        out = set(random.Random(halving).sample(documents, len(documents) // 2))
        held = _of(real, out)
        corrected, report = fit_decorrelation(reward, _of(real, set(documents) - out), held_out=held, threshold=BAR)
        save_reward(corrected, context.scratch / f"decorrelated{halving}")
        loaded = load_reward(context.scratch / f"decorrelated{halving}")
        prompts, completions = (list(column) for column in zip(*texts_of(held), strict=True))
        length = Length()(completions)
        scores = loaded.score(prompts, completions).double().T
        after.append([spearman(column, length) for column in scores])
        errors.append([_standard_error(column, length, prompts) for column in scores])
        reports.append(report)
    n = round(fmean(report.held_out.n for report in reports))
    found = []
    for k, name in enumerate(real.objectives):
        found += _rows_of(name, k, n, reports, [values[k] for values in after], [values[k] for values in errors])
    return found


def _rows_of(
    name: str, k: int, n: int, reports: Sequence[DecorrelationReport], after: list[float], errors: list[float]
) -> list[Row]:
    base = f"decorrelation.{name}"
    before = [report.held_out.before[k] for report in reports]
    sizes = [abs(value) for value in after]
    mean = fmean(sizes)
    chance = fmean(error**2 for error in errors)
    rms = max(fmean(value**2 for value in after) - chance, 0.0) ** 0.5
    texts = (
        f"{n} held-out responses of {SET}, cut to {WORDS} words, fitted on as many others; {len(after)} random halvings"
    )
    accuracies = [(report.held_out.accuracy_before, report.held_out.accuracy_after) for report in reports]
    each = ", ".join(f"{value:+.3f}" for value in after)
    was, now = (fmean(values[k] for values in part) for part in zip(*accuracies, strict=True))
    return [
        Row(
            f"{base}.spearman.before",
            f"mean Spearman of score and words on {texts}; probe on frozen embeddings",
            fmean(before),
        ),
        Row(
            f"{base}.spearman.after",
            f"mean |Spearman| of score and words on {texts}; probe with decorrelation, exported and loaded again: {each} (chance in the held-out half alone moves one by ±{1.96 * chance**0.5:.3f})",
            mean,
            interval=[min(sizes), max(sizes)],
            peer="before, mean of absolute values",
            peer_value=fmean(map(abs, before)),
            **at_most(BAR, mean),
        ),
        Row(
            f"{base}.spearman.rms",
            f"how far a single exported model is from 0: root mean square of {len(after)} halvings, the sampling error of their held-out responses taken off; what is "
            "left is the scatter of the correction's own fit; the halvings overlap",
            rms,
            **at_most(BAR, rms),
        ),
        Row(
            f"{base}.accuracy.loss",
            f"points of held-out pair accuracy that decorrelation costs ({was:.3f} before, {now:.3f} after)",
            100 * (was - now),
            "points",
        ),
    ]


def _standard_error(scores: torch.Tensor, length: torch.Tensor, prompts: Sequence[str]) -> float:
    """Of Spearman's correlation, by resampling prompts: the responses to one prompt are no independent draws."""
    drawn = resampled_rows(cluster_ids(prompts, len(prompts)), Resampling(resamples=200))
    return stdev(spearman(scores[rows], length[rows]) for rows in map(torch.from_numpy, drawn))


def _plain(context: Context, real: RealSet, train: Rows, documents: Sequence[str]) -> list[Row]:
    """Linear heads on a real sequence classifier's own features, length erased from their weights, exported, loaded as an ordinary model."""
    half = len(documents) // 2
    fit, held = _of(real, documents[:half]), _of(real, documents[half:])
    reward = TransformerReward.from_base(
        context.encoder, real.objectives, tokenizer=load_tokenizer(context.encoder), max_length=MAX_LENGTH
    )
    keep_layers(reward.model, LAYERS)
    reward.model.to(torch.bfloat16)  # type: ignore[arg-type]
    texts = read_texts(train, real.objectives)
    features = head_inputs(reward, texts.prompts, texts.completions)
    heads = fit_heads(
        features[texts.a], features[texts.b], texts.labels, real.objectives, config=ProbeConfig(uncertainty=False)
    ).heads
    # What a head adds to each feature, and the level at no feature at all.
    level = heads(torch.zeros(1, features.shape[1]))[0].double()
    weight = heads(torch.eye(features.shape[1])).double().T - level[:, None]
    trained = with_head(reward, weight, torch.zeros(len(weight)), -level, [True] * len(weight))
    erased, report = erase_length(trained, fit, held_out=held, threshold=BAR)
    erased.save_pretrained(context.scratch / "erased")
    prompts, completions = (list(column) for column in zip(*texts_of(held), strict=True))
    scores = load_reward(context.scratch / "erased").score(prompts, completions)
    length = Length()(completions)
    found = []
    for k, name in enumerate(real.objectives):
        value, m = spearman(scores[:, k].double(), length), report.held_out
        what = f"length erased from the head weights of an ordinary AutoModelForSequenceClassification, {m.n} held-out responses cut to {WORDS} words"
        cost = f"accuracy {m.accuracy_before[k]:.3f} before, {m.accuracy_after[k]:.3f} after"
        found.append(
            Row(
                f"decorrelation.{name}.spearman.plain",
                f"{what}; {cost}",
                value,
                peer="before",
                peer_value=m.before[k],
                bar=f"|.| <= {BAR:g}",
                holds=abs(value) <= BAR,
            )
        )
    return found


def _of(real: RealSet, documents: Sequence[str] | set[str]) -> Rows:
    kept = set(documents)
    return [row for row in real.rows if row["document"] in kept]
