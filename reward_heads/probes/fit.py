r"""Fit one linear head per objective to frozen embeddings: seconds instead of the hours of fine-tuning, with the same interface.

| labels of an objective | head | its score |
|---|---|---|
| ratings | ridge with an intercept, as the first stage of [ArmoRM](https://huggingface.co/papers/2406.12845), which has none and picks α on one random split | expected rating, in standard deviations from the mean |
| pairs | logistic on differences of features, without intercept (Bradley-Terry); soft labels, ties as 0.5 | nats; 0 is the mean over the training completions |
| flags (`sign_aware`) | logistic with an intercept | log-odds of 1 |
| pairs and ratings | the maximum of their joint posterior (convex): a Gaussian on standardised ratings, whose variance is the held-out squared error of ridge on the ratings alone, and Bradley-Terry on pairs with κ nats per standard deviation, κ chosen together with α | as ratings; `HeadFit.nats` is κ |

α is the one with the least held-out loss (squared error, or nats), in folds that keep the rows of a prompt together; a missing label (NaN) leaves its row out of that objective only.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.objectives import check_objectives
from reward_heads.examples import Example, labelled_objectives, read_examples
from reward_heads.normalizer import Normalizer
from reward_heads.probes.config import ProbeConfig
from reward_heads.probes.design import Design, Table, check_targets, standardiser
from reward_heads.probes.embedder import TextEmbedder
from reward_heads.probes.heads import Head, LinearHeads
from reward_heads.probes.logistic import Rows, logistic
from reward_heads.probes.probe import ProbeReward
from reward_heads.probes.report import HeadFit
from reward_heads.probes.ridge import degrees_of_freedom, noise_variance, ridge
from reward_heads.probes.selection import folds_of, held_out_logistic, held_out_ridge
from reward_heads.probes.spectrum import Array, Spectrum
from reward_heads.text import text_key

NATS = tuple(2.0**k for k in range(-2, 5))
"""How many nats of preference a standard deviation of ratings may be worth."""


@dataclass(frozen=True)
class FittedHeads:
    """What [`fit_heads`] found.

    Args:
        heads (`LinearHeads`): features to scores.
        units (`Normalizer`, *optional*): of the ratings: `units.inverse(scores)` is in their own units; `None` without any rating.
        fits (`tuple[HeadFit, ...]`): how each head came about.
    """

    heads: LinearHeads
    units: Normalizer | None
    fits: tuple[HeadFit, ...]


def fit_probe(
    embedder: TextEmbedder, rows: Iterable[Mapping[str, Any]], config: ProbeConfig | None = None
) -> ProbeReward:
    """Train a vector reward on pairs and ratings without touching a transformer's weights.

    Args:
        embedder (`TextEmbedder`): an [`Embedder`], or anything with `embed`, `width` and `fingerprint`.
        rows (`Iterable[Mapping]`): pairs and ratings in any mixture, any label missing, see [`read_examples`].
        config (`ProbeConfig`, *optional*): settings.

    Raises:
        InputError: a row is broken (names row and field), an objective is unknown or has no label, all its ratings or flags are the same, or a rating is outside `rating_range`.
    """
    config, rows = config or ProbeConfig(), list(rows)
    names = tuple(config.objectives or labelled_objectives(rows))
    if not names:
        raise InputError("rows: no row has a label, so there is no objective to train")
    examples = read_examples(rows, names, what="rows")
    targets = torch.tensor([example.targets for example in examples], dtype=torch.float64).reshape(-1, len(names))
    is_pair = torch.tensor([example.is_pair for example in examples], dtype=torch.bool)
    groups = _groups(rows, examples, config.group_by)
    _check(targets, is_pair, names, config)  # before the embedding, which takes longer
    prompts, completions = [e.prompt for e in examples], [e.completion for e in examples]
    others = [(e.prompt, e.other) for e in examples if e.other is not None]
    features = embedder.embed(prompts + [p for p, _ in others], completions + [other for _, other in others])
    a, b = features[: len(examples)], None
    if others:
        b = torch.full_like(a, torch.nan)
        b[is_pair] = features[len(examples) :]
    fitted = fit_heads(a, b, targets, names, is_pair=is_pair, groups=groups, config=config)
    kinds = {"pairs": bool(is_pair.any()), "ratings": bool((~is_pair).any())}
    training = "+".join(kind for kind, found in kinds.items() if found)
    return ProbeReward(embedder, fitted.heads, units=fitted.units, training=training, fits=fitted.fits)


def fit_heads(
    features_a: Tensor,
    features_b: Tensor | None,
    targets: Tensor,
    objectives: Sequence[str],
    *,
    is_pair: Tensor | None = None,
    groups: Sequence[Hashable] | None = None,
    config: ProbeConfig | None = None,
) -> FittedHeads:
    """Fit heads to features of any kind.

    Args:
        features_a (`Tensor`): `[N, d]`, of the rated completion, or of completion a.
        features_b (`Tensor`, *optional*): `[N, d]`, of completion b; `None` where all rows are ratings.
        targets (`Tensor`): `[N, K]`, the probability that a is better, or the rating in its own units; NaN = missing.
        objectives (`Sequence[str]`): K names.
        is_pair (`Tensor`, *optional*): `[N]` bool; by default all rows are pairs if `features_b` is given, else none.
        groups (`Sequence`, *optional*): N; rows that must be held out together. By default every row by itself.
        config (`ProbeConfig`, *optional*): settings; its `objectives` and `group_by` are not read.

    Raises:
        InputError: shapes differ, a feature is not finite, or labels as in [`fit_probe`].

    Example:
        >>> import torch
        >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
        >>> ratings = x @ torch.tensor([[1.0], [2.0], [0.0]]) + 3
        >>> fitted = fit_heads(x, None, ratings, ["good"])
        >>> print([round(rating, 2) for rating in fitted.units.inverse(fitted.heads(torch.eye(3))).squeeze(1).tolist()])
        [4.0, 5.0, 3.0]
    """
    config, names = config or ProbeConfig(), check_objectives(objectives)
    table = Table.of(features_a, features_b, targets, names, is_pair, groups)
    units = _check(torch.from_numpy(table.targets), torch.from_numpy(table.is_pair), names, config)
    heads, fits = [], []
    design: Design | None = None
    for k, name in enumerate(names):
        known = np.flatnonzero(~np.isnan(table.targets[:, k]))
        if design is None or not np.array_equal(design.known, known):
            design = Design.of(table, known)
        location, scale = (units.location[k], units.scale[k]) if units is not None else (0.0, 1.0)
        labels = table.targets[known, k]
        labels = np.where(design.is_pair, labels, (labels - location) / scale)
        folds = folds_of([table.groups[row] for row in known], config.folds)
        found = _fit_one(design, labels, name, folds, config)
        heads.append(found[0])
        fits.append(found[1])
    return FittedHeads(LinearHeads(names, tuple(heads)), units, tuple(fits))


def _check(targets: Tensor, is_pair: Tensor, names: Sequence[str], config: ProbeConfig) -> Normalizer | None:
    config.check_names(names)
    if not len(targets):
        raise InputError("rows: there is none to learn from")
    check_targets(targets, is_pair, names, config, "rows")
    return standardiser(targets, is_pair, names, config)


def _groups(rows: Sequence[Mapping[str, Any]], examples: Sequence[Example], field: str | None) -> list[Hashable]:
    if field is None:
        return [text_key(example.prompt) for example in examples]
    for number, row in enumerate(rows):
        if row.get(field) is None:
            raise InputError(f"rows, row {number}: the field '{field}' (group_by) is missing; found {', '.join(row)}")
    return [str(row[field]) for row in rows]


def _fit_one(
    design: Design, labels: Array, name: str, folds: Sequence[Array], config: ProbeConfig
) -> tuple[Head, HeadFit]:
    alphas = np.array(config.alphas)
    flag = ~design.is_pair & (name in config.sign_aware)
    rated = ~design.is_pair & ~flag
    if rated.all():
        losses = held_out_ridge(design.x, labels, alphas, folds, design.spectrum)
        alpha = _least(alphas, losses)
        head = _ridge_head(design, labels, alpha)
        nats = None
    else:
        noise = _rating_noise(design, labels, rated, folds, alphas) if rated.any() else 0.0
        nats = _nats(design, labels, rated, noise, alphas, folds) if rated.any() else 1.0
        losses = held_out_logistic(_rows(design, labels, rated, noise, nats), alphas, folds)
        alpha = _least(alphas, losses)
        head = _logistic_head(design, _rows(design, labels, rated, noise, nats), alpha)
    kinds = {"pairs": design.is_pair, "ratings": rated, "flags": flag}
    labelled = "+".join(kind for kind, found in kinds.items() if found.any())
    if not config.uncertainty:
        head = Head(**{**vars(head), "spectrum": None})
    return head, HeadFit(name, labelled, len(labels), alpha, tuple(alphas.tolist()), tuple(losses.tolist()), nats)


def _rows(design: Design, labels: Array, rated: Array, noise: float, nats: float) -> Rows:
    """The rows of a logistic head, a difference of 1 between scores being worth so many nats of preference."""
    pair = design.is_pair
    return Rows(
        np.where(pair[:, None], nats * design.x, design.x), (~pair).astype(float), labels, np.where(rated, noise, 0.0)
    )


def _nats(design: Design, labels: Array, rated: Array, noise: float, alphas: Array, folds: Sequence[Array]) -> float:
    """Of `NATS`, the one with the least held-out loss, over every fourth penalty: the loss is flat around its minimum."""
    some = alphas[:: max(1, min(4, len(alphas) // 4))]
    found = [held_out_logistic(_rows(design, labels, rated, noise, nats), some, folds).min() for nats in NATS]
    return NATS[int(np.argmin(found))]


def _least(alphas: Array, losses: Array) -> float:
    """The penalty with the least loss, the largest of equals; the middle one where nothing could be held out."""
    if not losses.any():
        return float(alphas[len(alphas) // 2])
    return float(alphas[np.flatnonzero(losses == losses.min())[-1]])


def _rating_noise(design: Design, labels: Array, rated: Array, folds: Sequence[Array], alphas: Array) -> float:
    """The held-out squared error of ridge on the ratings alone, in standard deviations squared."""
    place = np.cumsum(rated) - 1
    parts = [place[held[rated[held]]] for held in folds]
    x, n = design.x[rated], int(rated.sum())
    usable = [part for part in parts if 0 < len(part) < n]
    if not usable:  # all ratings are in one fold: their own variance
        return 1.0
    errors = held_out_ridge(x, labels[rated], alphas, usable, lambda at: Spectrum.of(x[at] - x[at].mean(axis=0)))
    return float(max(errors.min(), 1e-6))


def _ridge_head(design: Design, labels: Array, alpha: float) -> Head:
    spectrum = design.spectrum(np.arange(len(labels)))
    coefficients, levels = ridge(design.x, labels, spectrum, np.array([alpha]))
    used = degrees_of_freedom(spectrum, alpha)
    noise = noise_variance(design.x, labels, coefficients[0], float(levels[0]), used)
    return _head(design, 0.0, coefficients[0], float(levels[0]), noise / len(labels), alpha, noise, spectrum)


def _logistic_head(design: Design, rows: Rows, alpha: float) -> Head:
    """The maximum of the posterior, and its curvature there (Laplace's approximation)."""
    coefficients, levels = logistic(rows, Spectrum.of(rows.x), [alpha], polish=True)
    beta, level = coefficients[0], float(levels[0])
    curvatures = rows.curvatures(rows.x @ beta + rows.level * level)
    told = curvatures * rows.level
    known = bool(rows.level.any())
    # About this point, level and coefficients are independent: the curvature's mixed part vanishes.
    shift = told @ rows.x / told.sum() if known else np.zeros(len(beta))
    bent = (rows.x - rows.level[:, None] * shift) * np.sqrt(curvatures)[:, None]
    variance = 1 / float(told.sum()) if known else 0.0
    return _head(design, shift, beta, level + float(beta @ shift), variance, alpha, 1.0, Spectrum.of(bent))


def _head(
    design: Design,
    shift: Array | float,
    beta: Array,
    level: float,
    level_variance: float,
    alpha: float,
    noise: float,
    spectrum: Spectrum,
) -> Head:
    # A feature that never differed has an infinite unit: in files, a finite one and a weight of 0.
    finite = np.isfinite(design.unit)
    unit = np.where(finite, design.unit, 1.0)
    centre = design.centre + np.where(finite, unit * shift, 0.0)
    single = Spectrum(spectrum.directions.astype(np.float32), spectrum.values)  # half the size; never used to predict
    return Head(centre, unit, beta, level, level_variance, alpha, noise, single)
