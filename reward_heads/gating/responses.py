r"""Learn what counts for a prompt from responses that people liked, without anyone saying what they wanted: [Preference Orchestrator](https://huggingface.co/papers/2511.10656).

$$ \min_g \; \frac1N \sum_i \mathrm{KL}\big( t_i \,\|\, g(x_i) \big), \qquad t_i = \mathrm{softmax}\big( \tilde r(x_i, y_i) / \tau \big) $$

with $y_i$ the preferred response and $\tilde r$ its *normalised* rewards: the softmax compares objectives with each other, which raw units would decide. The best gate gives a prompt the mean
target of its responses; the best constant weights are the mean target of all.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.objectives import check_objectives
from reward_heads.gating.config import GateConfig
from reward_heads.gating.gate import Gate
from reward_heads.gating.network import GateNetwork, check_embeddings
from reward_heads.gating.report import GateReport, mean_and_error
from reward_heads.gating.rows import embed_distinct, read_preferred
from reward_heads.gating.train import Split, split_rows, train
from reward_heads.normalizer import NormalizedReward, Normalizer
from reward_heads.probes.embedder import TextEmbedder
from reward_heads.vector_reward import VectorReward, score_checked


def fit_gate_on_responses(
    embedder: TextEmbedder,
    reward: VectorReward,
    rows: Iterable[Mapping[str, Any]],
    normalizer: Normalizer | None = None,
    *,
    label: str | None = None,
    target_temperature: float = 1.0,
    config: GateConfig | None = None,
) -> Gate:
    """Fit a gate to preferred responses.

    Args:
        embedder (`TextEmbedder`): of the prompts.
        reward (`VectorReward`): K objectives, with its transforms.
        rows (`Iterable[Mapping]`): `prompt` and the preferred `completion`; or pairs, of which the better completion is taken (ties are left out).
        normalizer (`Normalizer`, *optional*): of the rewards, measured on ordinary responses to such prompts (the reference policy's): a preferred response stands out against those.
            Needed unless `reward` is a [`NormalizedReward`].
        label (`str`, *optional*): the name in the `labels` of pairs that says which completion is better overall.
        target_temperature (`float`, *optional*, defaults to 1.0): τ; smaller asks for weights nearer to a single objective.
        config (`GateConfig`, *optional*): settings.

    Raises:
        InputError: rewards that are not normalised, a broken row, a reward that is not known for any row, or too few prompts.
    """
    if normalizer is None and not isinstance(reward, NormalizedReward):
        raise InputError(
            "a gate on responses compares objectives with each other, so their units would decide: give a normalizer measured on ordinary responses "
            "(Normalizer.from_scores(reward.score(prompts, completions), reward.objectives)), or a NormalizedReward"
        )
    prompts, completions = read_preferred(rows, label)
    scores = score_checked(reward, prompts, completions)
    embeddings, keys = embed_distinct(embedder, prompts) if prompts else (torch.empty(0, embedder.width), [])
    normalised = scores if normalizer is None else normalizer.select(reward.objectives)(scores)
    gate = fit_gate_on_rewards(
        embeddings, normalised, reward.objectives, groups=keys, target_temperature=target_temperature, config=config
    )
    return Gate(
        gate.network,
        gate.objectives,
        embedder=embedder,
        normalizer=normalizer,
        fitted_on="responses",
        report=gate.report,
    )


def fit_gate_on_rewards(
    embeddings: Tensor,
    rewards: Tensor,
    objectives: Sequence[str],
    *,
    groups: Sequence[Hashable] | None = None,
    target_temperature: float = 1.0,
    config: GateConfig | None = None,
) -> Gate:
    """Fit a gate to numbers.

    Args:
        embeddings (`Tensor`): `[N, d]`, of the prompts.
        rewards (`Tensor`): `[N, K]`, *normalised* rewards of the preferred responses; a row with a NaN is left out.
        objectives (`Sequence[str]`): K names.
        groups (`Sequence`, *optional*): N; rows that are held out together, such as those of one prompt. By default every row by itself.
        target_temperature (`float`, *optional*, defaults to 1.0): τ.
        config (`GateConfig`, *optional*): settings.

    Raises:
        InputError: shapes differ, a number is infinite, τ is not positive, nothing is left to learn from, or too few groups.
    """
    config, names = config or GateConfig(), check_objectives(objectives)
    if not (math.isfinite(target_temperature) and target_temperature > 0):
        raise InputError(f"target_temperature must be positive, found {target_temperature}")
    x, r = check_embeddings(embeddings), rewards.detach().to("cpu", torch.float32)
    keys = list(range(len(x))) if groups is None else list(groups)
    if r.shape != (len(x), len(names)) or len(keys) != len(x):
        raise InputError(
            f"rewards must be [{len(x)}, {len(names)}] and groups [{len(x)}], found {list(r.shape)} and [{len(keys)}]"
        )
    if r.isinf().any():
        raise InputError("rewards must be finite, or NaN where not known")
    known = ~r.isnan().any(dim=1)
    x, targets = x[known], torch.log_softmax(r[known] / target_temperature, dim=1)
    keys = [key for key, used in zip(keys, known.tolist(), strict=True) if used]
    split = split_rows(keys, config)
    network = GateNetwork(x.shape[1], len(names), config)
    network.standardise(x[split.train])
    constant = targets[split.train].exp().mean(dim=0)
    network.start_from(constant, 1.0)
    on_device = targets.to(config.device)

    def loss(log_weights: Tensor, alpha: Tensor, rows: Tensor) -> Tensor:
        return _divergence(on_device[rows.to(config.device)], log_weights)

    def held_out_loss(log_weights: Tensor, rows: Tensor) -> float:
        return float(_divergence(targets[rows], log_weights).mean())

    update = train(network, x, loss, held_out_loss, split, config)
    with torch.no_grad():
        network.log_scale.zero_()  # says nothing here; weight decay may have moved it
    gate = Gate(network, names, fitted_on="responses")
    gate.report = _report(gate, x, targets, keys, split, constant, update, int((~known).sum()))
    return gate


def _divergence(log_targets: Tensor, log_weights: Tensor) -> Tensor:
    """`[N]` nats: KL(target ‖ weights)."""
    return (log_targets.exp() * (log_targets - log_weights)).sum(dim=1)


def _report(
    gate: Gate,
    x: Tensor,
    targets: Tensor,
    keys: Sequence[Hashable],
    split: Split,
    constant: Tensor,
    update: int,
    left_out: int,
) -> GateReport:
    k, judging = len(gate.objectives), split.judging
    weights = gate.weights_of(x[judging])
    least = torch.finfo(
        weights.dtype
    ).tiny  # a weight of 0 costs much where it was wanted, and not NaN where it was not
    log_weights = {
        "gate": weights.clamp_min(least).log(),
        "constant": constant.clamp_min(least).log().expand_as(weights),
        "uniform": torch.full_like(weights, -math.log(k)),
    }
    losses = {name: _divergence(targets[judging], found) for name, found in log_weights.items()}
    gain = mean_and_error(losses["constant"] - losses["gate"], [keys[row] for row in judging.tolist()])
    return GateReport(
        gate.objectives,
        "responses",
        len(split.train),
        len(split.stopping),
        len(judging),
        left_out,
        update,
        tuple(constant.tolist()),
        tuple(weights.mean(dim=0).tolist()),
        tuple(weights.std(dim=0, correction=0).tolist()) if len(judging) else (torch.nan,) * k,
        {name: float(loss.mean()) for name, loss in losses.items()},
        {},
        *gain,
    )
