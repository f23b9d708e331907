r"""Learn from pairs what counts for which prompt, as [ArmoRM](https://huggingface.co/papers/2406.12845) does (section 3.2).

$$ \min_{g, \alpha} \; \frac1N \sum_i \mathrm{softplus}(m_i) - p_i m_i, \qquad m_i = \alpha\, g(x_i)^\top \big( \tilde r(x_i, a_i) - \tilde r(x_i, b_i) \big) $$

with $\tilde r$ the normalised rewards, *after* every transform of the reward: they come from `reward.score`, as in any later use, so that calibration and decorrelation cannot be applied in one
place and forgotten in another (ArmoRM's released code de-biases its rewards, then trains its gate on the others). Rewards stay as they are; only the gate learns. The update is
chosen, and α finally set, on held-out rows, each update judged with its best α there: learning by heart makes a gate too sure long before its weights get worse.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from frontier.errors import InputError
from frontier.objectives import check_objectives
from reward_heads.accuracy import agreement
from reward_heads.gating.config import GateConfig
from reward_heads.gating.constant import constant_weights
from reward_heads.gating.gate import Gate
from reward_heads.gating.network import GateNetwork, check_embeddings
from reward_heads.gating.report import GateReport, mean_and_error
from reward_heads.gating.rows import embed_distinct, read_comparisons
from reward_heads.gating.train import Split, split_rows, train
from reward_heads.normalizer import NormalizedReward, Normalizer
from reward_heads.probes.embedder import TextEmbedder
from reward_heads.vector_reward import VectorReward, score_checked

# One number fitted to fewer pairs would be worse than the one found in training.
_FEWEST_TO_RECALIBRATE = 50


def fit_gate_on_pairs(
    embedder: TextEmbedder,
    reward: VectorReward,
    rows: Iterable[Mapping[str, Any]],
    *,
    label: str | None = None,
    normalizer: Normalizer | None = None,
    config: GateConfig | None = None,
) -> Gate:
    """Fit a gate to which of two completions was better overall.

    Args:
        embedder (`TextEmbedder`): of the prompts.
        reward (`VectorReward`): K objectives, with its transforms.
        rows (`Iterable[Mapping]`): pairs.
        label (`str`, *optional*): the name in `labels` that says which completion is better overall (`"preferred"`); may be left out if the rows have one name only.
        normalizer (`Normalizer`, *optional*): of the rewards; by default measured on the completions of `rows`. A [`NormalizedReward`] needs none.
        config (`GateConfig`, *optional*): settings.

    Returns:
        `Gate`: with a report that sets it beside constant weights on held-out prompts.

    Raises:
        InputError: a row is broken, the label is unknown, a reward is constant, no row has a label and known rewards, or there are too few prompts.
    """
    found = read_comparisons(rows, label)
    n = len(found.prompts)
    scores = score_checked(reward, found.prompts * 2, found.a + found.b)
    if normalizer is None and not isinstance(reward, NormalizedReward):
        normalizer = Normalizer.from_scores(scores, reward.objectives, f"completions of {n} pairs")
    embeddings, keys = embed_distinct(embedder, found.prompts) if n else (torch.empty(0, embedder.width), [])
    gate = fit_gate_on_differences(
        embeddings,
        scores[:n] - scores[n:],
        found.labels,
        reward.objectives,
        groups=keys,
        normalizer=normalizer,
        config=config,
    )
    return Gate(
        gate.network,
        gate.objectives,
        embedder=embedder,
        normalizer=gate.normalizer,
        fitted_on="pairs",
        report=gate.report,
    )


def fit_gate_on_differences(
    embeddings: Tensor,
    differences: Tensor,
    labels: Tensor,
    objectives: Sequence[str],
    *,
    groups: Sequence[Hashable] | None = None,
    normalizer: Normalizer | None = None,
    config: GateConfig | None = None,
) -> Gate:
    """Fit a gate to numbers.

    Args:
        embeddings (`Tensor`): `[N, d]`, of the prompts.
        differences (`Tensor`): `[N, K]`, rewards of a minus rewards of b, in reward units; a row with a NaN is left out.
        labels (`Tensor`): `[N]`, the probability that a is better (0.5 = tie); NaN = missing.
        objectives (`Sequence[str]`): K names.
        groups (`Sequence`, *optional*): N; rows that are held out together, such as those of one prompt. By default every row by itself.
        normalizer (`Normalizer`, *optional*): differences are divided by its scale; by default they are used as they are.
        config (`GateConfig`, *optional*): settings.

    Raises:
        InputError: shapes differ, an embedding or difference is infinite, a label is outside [0, 1], nothing is left to learn from, or too few groups.
    """
    config, names = config or GateConfig(), check_objectives(objectives)
    x = check_embeddings(embeddings)
    d, p = differences.detach().to("cpu", torch.float32), labels.detach().to("cpu", torch.float32)
    keys = list(range(len(x))) if groups is None else list(groups)
    if d.shape != (len(x), len(names)) or p.shape != (len(x),) or len(keys) != len(x):
        raise InputError(
            f"differences must be [{len(x)}, {len(names)}], labels and groups [{len(x)}]; found {list(d.shape)}, {list(p.shape)} and [{len(keys)}]"
        )
    if d.isinf().any() or ((p < 0) | (p > 1)).any():
        raise InputError("differences must be finite and labels in [0, 1]; NaN where not known")
    normalizer = None if normalizer is None else normalizer.select(names)
    if normalizer is not None:
        d = d / d.new_tensor(normalizer.scale)
    known = ~(d.isnan().any(dim=1) | p.isnan())
    x, d, p = x[known], d[known], p[known]
    keys = [key for key, used in zip(keys, known.tolist(), strict=True) if used]
    split = split_rows(keys, config)
    network = GateNetwork(x.shape[1], len(names), config)
    network.standardise(x[split.train])
    constant, scale = constant_weights(d[split.train], p[split.train])
    network.start_from(constant, scale)
    on_device = d.to(config.device), p.to(config.device)

    def loss(log_weights: Tensor, alpha: Tensor, rows: Tensor) -> Tensor:
        at = rows.to(config.device)
        return _bradley_terry(alpha * (log_weights.exp() * on_device[0][at]).sum(dim=1), on_device[1][at])

    def held_out_loss(log_weights: Tensor, rows: Tensor) -> float:
        margins = (log_weights.exp() * d[rows]).sum(dim=1)
        return float(_bradley_terry(_scale(margins, p[rows], network) * margins, p[rows]).mean())

    update = train(network, x, loss, held_out_loss, split, config)
    gate = Gate(network, names, normalizer=normalizer, fitted_on="pairs")
    if len(split.stopping):
        margins = (gate.weights_of(x[split.stopping]) * d[split.stopping]).sum(dim=1)
        with torch.no_grad():
            network.log_scale.fill_(math.log(_scale(margins, p[split.stopping], network)))
    gate.report = _report(gate, x, d, p, keys, split, (constant, scale), update, int((~known).sum()))
    return gate


def _scale(margins: Tensor, labels: Tensor, network: GateNetwork) -> float:
    """α for held-out rows: on its own rows a gate is surer than it may be elsewhere, which says nothing against its weights."""
    if len(margins) >= _FEWEST_TO_RECALIBRATE:
        _, scale = constant_weights(margins[:, None], labels)
        if scale > 0:
            return scale
    return float(network.log_scale.detach().exp())


def _bradley_terry(margins: Tensor, labels: Tensor) -> Tensor:
    return F.softplus(margins) - labels * margins


def _report(
    gate: Gate,
    x: Tensor,
    d: Tensor,
    p: Tensor,
    keys: Sequence[Hashable],
    split: Split,
    constant: tuple[Tensor, float],
    update: int,
    left_out: int,
) -> GateReport:
    k, judging = len(gate.objectives), split.judging
    even, even_scale = constant_weights(d[split.train].mean(dim=1, keepdim=True), p[split.train])
    weights = gate.weights_of(x[judging])
    margins = {
        "gate": gate.scale * (weights * d[judging]).sum(dim=1),
        "constant": constant[1] * d[judging] @ constant[0],
        "uniform": even_scale * d[judging].mean(dim=1) * even,
    }
    losses = {name: _bradley_terry(margin, p[judging]) for name, margin in margins.items()}
    accuracy = {
        name: agreement(margin[:, None], p[judging, None])[0].accuracy
        for name, margin in margins.items()
        if len(judging)
    }
    gain = mean_and_error(losses["constant"] - losses["gate"], [keys[row] for row in judging.tolist()])
    return GateReport(
        gate.objectives,
        "pairs",
        len(split.train),
        len(split.stopping),
        len(judging),
        left_out,
        update,
        tuple(constant[0].tolist()),
        tuple(weights.mean(dim=0).tolist()),
        tuple(weights.std(dim=0, correction=0).tolist()) if len(judging) else (torch.nan,) * k,
        {name: float(loss.mean()) for name, loss in losses.items()},
        accuracy,
        *gain,
    )
