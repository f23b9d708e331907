"""One K-head model against K single-head models, probes on frozen embeddings, one pooled scalar and the majority, on every real set."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import process_time

import numpy as np
import torch
from torch import Tensor

from benchmarks.jobs import Job, run_jobs
from benchmarks.report import Row, at_least, at_most
from benchmarks.reward_heads.calibration import calibrated
from benchmarks.reward_heads.context import Context
from benchmarks.reward_heads.sets import SETS, RealSet, Split, comparisons, texts_of
from benchmarks.reward_heads.training import LAYERS, MAX_LENGTH, POOLED, fine_tune, split_of
from reward_heads.calibrate import pair_calibration_error

MODELS = ("khead", "single", "probe", "pooled")
QUICK_SETS = ("sfres", "hh_dual")
SEED = 0
DISJOINT = "; here most rows are labelled for one objective only, so the single models share out the texts among them and one model must read them all"


@dataclass
class Measured:
    """Held-out comparisons of one objective, over all folds.

    Args:
        right (`dict[str, list[Tensor]]`): model to `[n]` tensors, 1 where it ranks as labelled, 0.5 for equal scores.
        labels (`list[Tensor]`): `[n]` labels.
        documents (`list[str]`), others (`list[str]`): where the two texts of each comparison are from.
        calibrated (`list[Tensor]`): `[n]` log-odds of the K-head model that a is better, after calibration on other documents.
    """

    right: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    labels: list[Tensor] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    calibrated: list[Tensor] = field(default_factory=list)


def rows(context: Context) -> list[Row]:
    """Accuracy with 95 % intervals, ECE after calibration, training seconds."""
    names = QUICK_SETS if context.quick else SETS
    splits = {
        (name, fold): split_of(str(context.data), name, fold, context.quick)
        for name in names
        for fold in range(_folds(context, name))
    }
    jobs = [job for key, (real, split) in splits.items() for job in _jobs(context, *key, real, split)]
    results = run_jobs(jobs, what="Heads", keep=context.keep)
    measured: dict[tuple[str, str], Measured] = defaultdict(Measured)
    seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    failed = [result for result in results if result.error]
    scores: dict[tuple[str, int, str, str], dict[str, Tensor]] = {}
    for result in results:
        if result.error:
            continue
        s, heads = result.job.settings, tuple(result.job.settings["objectives"])
        name, fold = s["name"], s["fold"]
        real, _ = splits[name, fold]
        model = "pooled" if heads == (POOLED,) else "khead" if heads == real.objectives else "single"
        seconds[name][model] += result.figures["seconds"]
        for column, head in enumerate(heads):
            for objective in real.objectives if model == "pooled" else (head,):
                scores[name, fold, model, objective] = {
                    part: torch.tensor(result.figures[part])[:, column] for part in ("calibration", "test")
                }
    for (name, fold), (real, split) in splits.items():
        started = process_time()
        for objective, probed in _probe(context, real, split).items():
            scores[name, fold, "probe", objective] = probed
        seconds[name]["probe"] += process_time() - started
        for objective in real.objectives:
            _compare(measured[name, objective], real, split, fold, objective, scores)
    found = [Row(f"{r.job.settings['name']}.failed", f"training failed: {r.error}", None, holds=False) for r in failed]
    for (name, objective), what in measured.items():
        found += _objective_rows(name, objective, what)
    return found + _summary(measured, seconds, {name: splits[name, 0][0] for name in names})


def _folds(context: Context, name: str) -> int:
    return 1 if context.quick else split_of(str(context.data), name, 0, False)[0].folds


def _jobs(context: Context, name: str, fold: int, real: RealSet, split: Split) -> Iterable[Job]:
    common = {"data": str(context.data), "encoder": str(context.encoder), "name": name, "fold": fold, "seed": SEED}
    common["quick"] = context.quick
    for heads in (real.objectives, *((objective,) for objective in real.objectives), (POOLED,)):
        used = [r for r in split.train if heads == (POOLED,) or set(heads) & set(r.get("scores") or r["labels"])]
        tokens = sum(len(f"{r['prompt']}{c}") / 4 for r in used for k, c in r.items() if k.startswith("completion"))
        yield Job(fine_tune, {**common, "objectives": heads}, 3 * tokens / 2000)


def _probe(context: Context, real: RealSet, split: Split) -> dict[str, dict[str, Tensor]]:
    """Scores of scikit-learn heads on frozen embeddings."""
    from reward_heads.probes import Embedder, ProbeConfig, fit_probe

    embedder = Embedder.from_pretrained(
        context.encoder, layer=LAYERS, max_length=MAX_LENGTH, cache=context.scratch / "embeddings"
    )
    reward = fit_probe(embedder, split.train, ProbeConfig(group_by="document"))
    found: dict[str, dict[str, Tensor]] = {objective: {} for objective in real.objectives}
    for part in ("calibration", "test"):
        scores = reward.score(*zip(*texts_of(getattr(split, part)), strict=True))
        for objective in real.objectives:
            found[objective][part] = scores[:, reward.objectives.index(objective)]
    return found


def _compare(
    into: Measured,
    real: RealSet,
    split: Split,
    fold: int,
    objective: str,
    scores: dict[tuple[str, int, str, str], dict[str, Tensor]],
) -> None:
    pairs = comparisons(real, split.test, objective)
    labels = torch.tensor(pairs.label)
    into.labels.append(labels)
    into.documents += [f"{fold}:{document}" for document in pairs.document]
    into.others += [f"{fold}:{document}" for document in pairs.other]
    for model in MODELS:
        column = scores.get((real.name, fold, model, objective))
        if column is None:
            continue
        difference = column["test"][pairs.a] - column["test"][pairs.b]
        into.right[model].append(0.5 + 0.5 * difference.sign() * (labels - 0.5).sign())
        if model == "khead":
            known = comparisons(real, split.calibration, objective)
            held = column["calibration"][known.a] - column["calibration"][known.b]
            into.calibrated.append(
                torch.from_numpy(calibrated(known, held.double().numpy(), pairs, difference.double().numpy()))
            )


def _objective_rows(name: str, objective: str, measured: Measured) -> list[Row]:
    labels = torch.cat(measured.labels)
    share = labels.mean().item()
    majority = max(share, 1 - share)
    base = f"{name}.{objective}"
    n = f"{len(labels)} comparisons of {len(set(measured.documents))} held-out documents"
    found = [Row(f"{base}.accuracy.majority", f"the commoner label, {n}", majority)]
    for model in MODELS:
        if not measured.right[model]:
            continue
        value, low, high = share_of_documents(torch.cat(measured.right[model]), measured.documents, measured.others)
        row = Row(
            f"{base}.accuracy.{model}",
            f"{n}; interval over documents",
            value,
            interval=[low, high],
            peer="majority",
            peer_value=majority,
            bar=f"> {majority:.3f}",
            holds=value > majority,
        )
        found.append(row)
    if measured.calibrated:
        ece = pair_calibration_error(torch.cat(measured.calibrated), labels, measured.documents)
        what = (
            f"K-head model, one temperature fitted on other documents, shrunk by its noise; {n}; debiased (the plug-in value, which noise alone lifts above 0 with so few "
            f"comparisons: {ece.ece:.3f})"
        )
        interval = [ece.debiased.low, ece.debiased.high]
        found.append(
            Row(f"{base}.ece", what, ece.debiased.value, interval=interval, **at_most(0.05, ece.debiased.value))
        )
    return found


def share_of_documents(
    right: Tensor, documents: list[str], others: list[str], resamples: int = 2000
) -> tuple[float, float, float]:
    """A share with its 95 % interval by drawing documents: a comparison between two documents comes as often as both were drawn.

    Resampling only the first text's document would take comparisons that share their second text for independent.

    Args:
        right (`Tensor`): `[n]`, 1 where right.
        documents (`list[str]`): of the first text of each comparison.
        others (`list[str]`): of the second.
        resamples (`int`, *optional*, defaults to 2000): draws.
    """
    values = right.double().numpy()
    names = {name: i for i, name in enumerate(dict.fromkeys([*documents, *others]))}
    a, b = (np.array([names[name] for name in side]) for side in (documents, others))
    drawn = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    counts = np.where(a == b, drawn[:, a], drawn[:, a] * drawn[:, b]).astype(np.float64)
    total = counts.sum(axis=1)
    shares = (counts @ values)[total > 0] / total[total > 0]
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def _summary(
    measured: dict[tuple[str, str], Measured], seconds: dict[str, dict[str, float]], sets: dict[str, RealSet]
) -> list[Row]:
    differences = torch.tensor(
        [
            100 * (torch.cat(m.right["khead"]).mean() - torch.cat(m.right["single"]).mean()).item()
            for m in measured.values()
            if m.right["khead"] and m.right["single"]
        ]
    )
    found = []
    if len(differences):
        mean, error = differences.mean().item(), differences.std().item() / len(differences) ** 0.5
        found.append(
            Row(
                "khead.minus_single.mean",
                f"accuracy of one K-head model minus K single-head models, mean over {len(differences)} objectives; interval over objectives",
                mean,
                "points",
                interval=[mean - 1.96 * error, mean + 1.96 * error],
                **at_least(-1.0, mean),
            )
        )
    ratios = []
    for name, spent in seconds.items():
        k = len(sets[name].objectives)
        for model in MODELS:
            what = f"CPU seconds of training ({'K models together' if model == 'single' else 'one model'}; probes: embedding and fitting)"
            found.append(Row(f"{name}.cost.{model}", what, spent[model], "s", peer="khead", peer_value=spent["khead"]))
        if spent["single"]:
            ratio = k * spent["khead"] / spent["single"]
            why = "" if name != "qa_feedback" else DISJOINT
            what = f"K times the K-head model's cost over that of K models{why}"
            found.append(Row(f"{name}.cost_ratio", what, ratio, **at_most(1.3, ratio)))
            ratios.append(ratio)
    if ratios:
        mean = sum(ratios) / len(ratios)
        what = "K times the K-head model's training cost over that of K single models, mean over sets; interval from the smallest to the largest; on qa_feedback most rows are labelled for one objective only, so there is nothing to share"
        found.append(Row("khead.cost_ratio", what, mean, interval=[min(ratios), max(ratios)], **at_most(1.3, mean)))
    return found
