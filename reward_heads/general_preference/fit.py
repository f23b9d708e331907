r"""Learn preferences that no scalar can hold: a beats b, b beats c, and c beats a.

The loss is cross-entropy of the labels p under $\sigma(s(a \succ b))$, $\mathrm{softplus}(s) - p\,s$, averaged over labelled pairs for each objective, plus a weight decay. The model is
bilinear, so unlike Bradley-Terry it has local minima; it starts at a Bradley-Terry model and keeps the update that was best on held-out pairs.
"""

import copy
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frontier.errors import InputError
from frontier.objectives import check_objectives
from reward_heads.general_preference.config import GeneralPreferenceConfig
from reward_heads.general_preference.network import PreferenceNetwork

# How often the held-out loss is looked at during training.
_LOOKS = 20


@dataclass(frozen=True)
class _Pairs:
    """N pairs as numbers."""

    a: Tensor
    b: Tensor
    labels: Tensor
    prompts: Tensor | None

    def take(self, rows: Tensor) -> "_Pairs":
        prompts = None if self.prompts is None else self.prompts[rows]
        return _Pairs(self.a[rows], self.b[rows], self.labels[rows], prompts)


def fit_general_preference(
    features_a: Tensor,
    features_b: Tensor,
    labels: Tensor,
    config: GeneralPreferenceConfig | None = None,
    *,
    objectives: Sequence[str] | None = None,
    prompt_features: Tensor | None = None,
    groups: Sequence[Hashable] | None = None,
) -> PreferenceNetwork:
    """Fit the general preference model of [Zhang et al., 2025](https://huggingface.co/papers/2410.02197) to features of any kind.

    Args:
        features_a (`Tensor`): `[N, d]`, of the first completion of each pair.
        features_b (`Tensor`): `[N, d]`, of the second one.
        labels (`Tensor`): `[N]` or `[N, K]`, the probability that a is better (0.5 = tie); NaN = missing.
        config (`GeneralPreferenceConfig`, *optional*): settings.
        objectives (`Sequence[str]`, *optional*): K names, by default `preference`, or `preference1`, ...
        prompt_features (`Tensor`, *optional*): `[N, e]`, with `config.prompt_scales`.
        groups (`Sequence[Hashable]`, *optional*): N, such as prompts: pairs of one group are held out together, if there are several groups.

    Raises:
        InputError: shapes differ, a feature is not finite, a label is outside [0, 1], or an objective has no label.
    """
    config = config or GeneralPreferenceConfig()
    labels = labels[:, None] if labels.dim() == 1 else labels
    names = _names(objectives, labels)
    pairs = _checked(features_a, features_b, labels, prompt_features if config.prompt_scales else None, names)
    prompt_width = None if pairs.prompts is None else pairs.prompts.shape[1]
    network = PreferenceNetwork(features_a.shape[1], names, config, prompt_width)
    network.standardise(torch.cat([pairs.a, pairs.b]))
    generator = torch.Generator().manual_seed(config.seed)
    order = _order(len(pairs.a), groups, generator)
    count = _held_out(order, groups, int(config.held_out * len(order)))
    held, train = pairs.take(order[:count]), pairs.take(order[count:])
    # Without a label there is nothing to judge by, and what is only held out is never learned.
    judges = not held.labels.isnan().all() and not train.labels.isnan().all(dim=0).any()
    _train(network, train if judges else pairs.take(order), held if judges else None, generator)
    return network.eval()


def preference_loss(network: PreferenceNetwork, pairs: Any) -> Tensor:
    """Cross-entropy in nats: the mean over objectives of the mean over their labelled pairs."""
    log_odds = network.log_odds(network.embed(pairs.a), network.embed(pairs.b), network.scales(pairs.prompts))
    known = ~pairs.labels.isnan()
    each = nn.functional.softplus(log_odds) - pairs.labels.nan_to_num(0.0) * log_odds
    counts = known.sum(dim=0)
    means = each.where(known, torch.zeros(())).sum(dim=0) / counts.clamp(min=1)
    return means.sum() / (counts > 0).sum().clamp(min=1)


def pair_rows(
    rows: Iterable[Mapping[str, Any]], objectives: Sequence[str] | None
) -> tuple[list[Any], Tensor, tuple[str, ...]]:
    """Examples of pairs, their labels `[N, K]` and the objectives (by default all that are labelled).

    Raises:
        InputError: a row is broken or a rating, or no objective is labelled.
    """
    from reward_heads.examples import check_every_objective_is_labelled, labelled_objectives

    listed = list(rows)
    names = check_objectives(objectives) if objectives is not None else labelled_objectives(listed)
    if not names:
        raise InputError("pairs: no row has a label, so there is nothing to learn")
    examples, labels = read_pairs(listed, names)
    check_every_objective_is_labelled(examples, names, "pairs")
    return examples, labels, tuple(names)


def read_pairs(
    rows: Iterable[Mapping[str, Any]], objectives: Sequence[str], *, ignore_others: bool = False
) -> tuple[list[Any], Tensor]:
    """Examples of pairs and their labels `[N, K]`; an objective may have none.

    Raises:
        InputError: a row is broken or a rating.
    """
    from reward_heads.examples import read_examples

    examples = read_examples(rows, objectives, what="pairs", ignore_others=ignore_others)
    for number, example in enumerate(examples):
        if example.other is None:
            raise InputError(f"pairs, row {number}: is a rating, which compares nothing")
    return examples, torch.tensor([example.targets for example in examples]).reshape(-1, len(objectives))


def _train(network: PreferenceNetwork, train: _Pairs, held: _Pairs | None, generator: torch.Generator) -> None:
    config = network.config
    weights = [parameter for name, parameter in network.named_parameters() if name.endswith("weight")]
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    best, kept = float("inf"), copy.deepcopy(network.state_dict())
    order = torch.randperm(len(train.a), generator=generator)
    for step in range(1, config.steps + 1):
        if len(order) < min(config.batch_size, len(train.a)):
            order = torch.randperm(len(train.a), generator=generator)
        rows, order = order[: config.batch_size], order[config.batch_size :]
        loss = preference_loss(network, train.take(rows))
        loss = loss + config.weight_decay * torch.stack([(weight**2).sum() for weight in weights]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if held is not None and (step % max(1, config.steps // _LOOKS) == 0 or step == config.steps):
            with torch.no_grad():
                value = preference_loss(network, held).item()
            if value < best:
                best, kept = value, copy.deepcopy(network.state_dict())
    if held is not None:
        network.load_state_dict(kept)


def _order(n: int, groups: Sequence[Hashable] | None, generator: torch.Generator) -> Tensor:
    """`[N]` rows in a random order, in which those of a group stand together."""
    if groups is None:
        return torch.randperm(n, generator=generator)
    if len(groups) != n:
        raise InputError(f"groups must be one for each of {n} pairs, found {len(groups)}")
    at = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    place = torch.randperm(len(at), generator=generator)[torch.tensor([at[group] for group in groups])]
    return (place + torch.rand(n, generator=generator)).argsort()


def _held_out(order: Tensor, groups: Sequence[Hashable] | None, count: int) -> int:
    """How many of the ordered rows to hold out: the first whole groups with at least `count` rows, but not all groups; rows stand alone where there are not two."""
    if groups is None or not count:
        return count
    ordered = [groups[row] for row in order.tolist()]
    ends = [row for row in range(1, len(ordered)) if ordered[row] != ordered[row - 1]]
    return next((end for end in ends if end >= count), ends[-1]) if ends else count


def _names(objectives: Sequence[str] | None, labels: Tensor) -> tuple[str, ...]:
    if labels.dim() != 2:
        raise InputError(f"labels must be [N] or [N, K], found {list(labels.shape)}")
    count = labels.shape[1]
    default = ["preference"] if count == 1 else [f"preference{k + 1}" for k in range(count)]
    names = check_objectives(default if objectives is None else objectives)
    if len(names) != count:
        raise InputError(f"labels have {count} columns for {len(names)} objectives ({', '.join(names)})")
    return names


def _checked(a: Tensor, b: Tensor, labels: Tensor, prompts: Tensor | None, names: tuple[str, ...]) -> _Pairs:
    if a.dim() != 2 or a.shape != b.shape or len(labels) != len(a):
        raise InputError(
            f"features must both be [{len(labels)}, d], one row per label, found {list(a.shape)} and {list(b.shape)}"
        )
    if prompts is not None and (prompts.dim() != 2 or len(prompts) != len(a)):
        raise InputError(f"prompt_features must be [{len(a)}, e], found {list(prompts.shape)}")
    for what, values in (("features_a", a), ("features_b", b), ("prompt_features", prompts)):
        if values is not None and not values.isfinite().all():
            raise InputError(f"{what} must be finite")
    if ((labels < 0) | (labels > 1)).any():
        raise InputError("labels must be the probability in [0, 1] that a is better, NaN where missing")
    for name, column in zip(names, labels.T, strict=True):
        if column.isnan().all():
            raise InputError(f"objective '{name}' has no label in any of the {len(labels)} pairs")
    cpu = [x if x is None else x.detach().to("cpu", torch.float32) for x in (a, b, labels, prompts)]
    return _Pairs(*cpu)  # type: ignore[arg-type]
