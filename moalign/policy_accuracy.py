"""Does the policy that was adapted to a user rank the user's own held-out pairs as the user did? The question that reward accuracy does not answer.

How well a personal reward model predicts a user says little of how the policy behaves that it guides (Kendall τ between 0.08 and 0.31), and plain in-context learning is hard to
beat ([arXiv 2512.23067](https://huggingface.co/papers/2512.23067)). So the three are measured side by side, on the same pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from moalign.policy import PreferenceLike, SteerablePolicy
from moalign.training.pairs import as_asked, completion_log_probs, tokenize_pairs
from reward_heads import VectorReward
from reward_heads.examples import Example, labelled_objectives, read_examples
from reward_heads.text import Text, as_messages, text_key
from reward_heads.vector_reward import score_checked

SCORES = ("implicit", "log_prob")
RESAMPLES = 2000


@dataclass(frozen=True)
class UserAccuracy:
    """How often margins have the sign of users' labels; equal scores count half, ties are left out.

    Args:
        accuracy (`float`): over all pairs.
        interval (`tuple[float, float]`): 95 %, users resampled with all their pairs; NaN with a single user.
        n (`int`): pairs.
        by_user (`dict[str, tuple[float, int]]`): accuracy and pairs of each user.
        margins (`Tensor`): `[n]` float64, of each pair: positive where a is ranked first.
    """

    accuracy: float
    interval: tuple[float, float]
    n: int
    by_user: dict[str, tuple[float, int]]
    margins: Tensor


@dataclass(frozen=True)
class PolicyAccuracy:
    """What ranks the users' own pairs how well.

    Args:
        policy (`UserAccuracy`): the policy under each user's preference.
        reference (`UserAccuracy`): log-probs of the base model, which knows nothing of the user.
        reward (`UserAccuracy`, *optional*): the reward under the same preferences.
        in_context (`UserAccuracy`, *optional*): the base model after demonstrations by the user.
        demonstrations (`dict[str, int]`): user to the fewest demonstrations that any of the user's prompts had room for.
    """

    policy: UserAccuracy
    reference: UserAccuracy
    reward: UserAccuracy | None
    in_context: UserAccuracy | None
    demonstrations: dict[str, int]

    def table(self) -> str:
        """For people."""
        lines = []
        for name in ("policy", "reference", "reward", "in_context"):
            found = getattr(self, name)
            if found is not None:
                low, high = found.interval
                lines.append(f"{name:<10}  {found.accuracy:.3f}  [{low:.3f}, {high:.3f}]  {found.n} pairs")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Accuracies, intervals and numbers of pairs for `json.dump`; NaN as null."""
        found = {}
        for name in ("policy", "reference", "reward", "in_context"):
            one = getattr(self, name)
            if one is not None:
                ends = [None if end != end else end for end in one.interval]
                found[name] = {"accuracy": one.accuracy, "interval": ends, "n": one.n, "by_user": one.by_user}
        return found


def policy_accuracy(
    policy: SteerablePolicy,
    pairs: Sequence[Mapping[str, Any]],
    preference_of_user: Mapping[str, PreferenceLike] | Callable[[str], PreferenceLike],
    *,
    objective: str | None = None,
    score: str = "implicit",
    per_token: bool = False,
    reward: VectorReward | Callable[[Sequence[Mapping[str, Any]]], Tensor] | None = None,
    demonstrations: Sequence[Mapping[str, Any]] | None = None,
    max_demonstrations: int = 8,
    max_length: int | None = None,
    batch_size: int = 16,
) -> PolicyAccuracy:
    r"""Rank each user's pairs by the policy at that user's preference, by the reward, and by the base model after demonstrations.

    The policy's margin is $\log \frac{\pi_w(a|x)}{\pi_\mathrm{ref}(a|x)} - \log \frac{\pi_w(b|x)}{\pi_\mathrm{ref}(b|x)}$, its implicit reward
    ([Rafailov et al., 2023](https://huggingface.co/papers/2305.18290), eq. 5) in units of β, which no ranking depends on; or $\log \pi_w(a|x) - \log \pi_w(b|x)$,
    what it would rather say. Users of any preferences share the batches.

    Args:
        policy (`SteerablePolicy`): what is judged.
        pairs (`Sequence[Mapping]`): held-out rows with `prompt`, `completion_a`, `completion_b`, `labels` and `user`, texts or conversations; ties are left out.
        preference_of_user: user to preference, a mapping or a function: what a user model found on *other* pairs.
        objective (`str`, *optional*): whose labels tell what users prefer; needed where several are labelled.
        score (`str`, *optional*, defaults to `"implicit"`): the implicit reward, or `"log_prob"`.
        per_token (`bool`, *optional*, defaults to `False`): divide log-probs by the number of tokens (the end counts), for the base model's too; otherwise short completions win.
        reward (*optional*): a `VectorReward` with the policy's objectives, mixed by the user's weights; or a function of rows that returns `[n]` margins of a over b.
        demonstrations (`Sequence[Mapping]`, *optional*): the users' *training* pairs, for the in-context baseline: what each user preferred stands before the prompt.
        max_demonstrations (`int`, *optional*, defaults to 8): at most so many, the last ones of a user.
        max_length (`int`, *optional*): tokens of demonstrations, prompt and completion, by default what the model allows; earlier demonstrations are left out until they fit.
        batch_size (`int`, *optional*, defaults to 16): completions at once.

    Raises:
        InputError: a row is broken, a rating or without user, no pair has a winner, a user has no preference, a demonstration is one of the pairs, or a margin is not finite.
    """
    if score not in SCORES:
        raise unknown_name("score", score, SCORES)
    rows, examples, labels, users = _read(pairs, objective, "pairs")
    weights = policy.weights([_preference(preference_of_user, user) for user in users], len(users))
    prompts = [example.prompt for example in examples]
    own = _differences(policy, prompts, examples, weights, per_token, batch_size)
    reference = _differences(policy, prompts, examples, torch.zeros_like(weights), per_token, batch_size)

    def judged(margins: Tensor) -> UserAccuracy:
        return accuracy_of(margins, labels, users)

    found_reward = None if reward is None else judged(_reward_margins(reward, policy, rows, examples, weights))
    in_context: UserAccuracy | None = None
    shown: dict[str, int] = {}
    if demonstrations is not None:
        longest = max_length or getattr(policy.base.config, "max_position_embeddings", None)
        told, shown = _with_demonstrations(
            policy, examples, users, demonstrations, objective, max_demonstrations, longest
        )
        in_context = judged(_differences(policy, told, examples, torch.zeros_like(weights), per_token, batch_size))
    adapted = own - reference if score == "implicit" else own
    return PolicyAccuracy(judged(adapted), judged(reference), found_reward, in_context, shown)


def accuracy_of(margins: Tensor, labels: Tensor, users: Sequence[str], seed: int = 0) -> UserAccuracy:
    """Accuracy of `[n]` margins on `[n]` labels (none of them 0.5), per user and overall, with an interval that resamples users.

    Raises:
        InputError: no pair, shapes differ, or a margin is not finite.
    """
    values = margins.detach().cpu().double()
    if not len(users) or values.shape != (len(users),) or labels.shape != values.shape:
        raise InputError(
            f"one margin and one label for each of {len(users)} pairs, at least one: found {list(values.shape)} margins"
        )
    if not values.isfinite().all():
        raise InputError(f"pairs, row {int((~values.isfinite()).nonzero()[0])}: its margin is not finite")
    right = 0.5 + 0.5 * values.sign() * (labels.double() - 0.5).sign()
    names = list(dict.fromkeys(users))
    place = {user: index for index, user in enumerate(names)}
    owner = torch.tensor([place[user] for user in users])
    counts = torch.bincount(owner, minlength=len(names)).double()
    sums = torch.zeros_like(counts).index_add_(0, owner, right)
    interval = (float("nan"), float("nan"))
    if len(names) > 1:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(len(names), (RESAMPLES, len(names)), generator=generator)
        low, high = torch.quantile(
            sums[drawn].sum(dim=1) / counts[drawn].sum(dim=1), torch.tensor([0.025, 0.975], dtype=torch.float64)
        ).tolist()
        interval = (low, high)
    each = {user: (float(s / c), int(c)) for user, s, c in zip(names, sums, counts, strict=True)}
    return UserAccuracy(float(right.mean()), interval, len(users), each, values)


def demonstrate(rows: Sequence[Example], prompt: Text) -> Text:
    """A prompt after what a user preferred: earlier turns of a conversation, or texts with an empty line between them."""
    better = [(row.prompt, row.completion if row.targets[0] > 0.5 else cast("Text", row.other)) for row in rows]
    if isinstance(prompt, str) and all(isinstance(text, str) for pair in better for text in pair):
        return "".join(f"{asked}{said}\n\n" for asked, said in better) + prompt
    # A chat may have one system message, at its beginning: the one of the prompt itself.
    own = as_messages(prompt, "user")
    system = [message for message in own[:1] if message.get("role") == "system"]
    turns = [m for asked, said in better for m in (*as_messages(asked, "user"), *as_messages(said, "assistant"))]
    return [*system, *(m for m in turns if m.get("role") != "system"), *own[len(system) :]]


def _read(
    pairs: Sequence[Mapping[str, Any]], objective: str | None, what: str
) -> tuple[list[Mapping[str, Any]], list[Example], Tensor, list[str]]:
    """The pairs with a winner: rows, examples, labels and users."""
    rows = list(pairs)
    labelled = labelled_objectives(rows)
    if objective is None and len(labelled) > 1:
        raise InputError(f"{what} are labelled for {', '.join(labelled)}: say which objective tells what users prefer")
    if not labelled or (objective is not None and objective not in labelled):
        raise InputError(f"{what}: no row is labelled" + (f" for '{objective}'" if objective else ""))
    examples = read_examples(rows, (objective or labelled[0],), what=what, ignore_others=True)
    kept = [i for i, e in enumerate(examples) if e.targets[0] == e.targets[0] and e.targets[0] != 0.5]
    for i in kept:
        if not examples[i].is_pair:
            raise InputError(f"{what}, row {i}: is a rating, which compares nothing")
        if rows[i].get("user") is None:
            raise InputError(f"{what}, row {i}: has no user")
    if not kept:
        raise InputError(f"{what}: no labelled pair has a winner")
    labels = torch.tensor([examples[i].targets[0] for i in kept], dtype=torch.float64)
    return [rows[i] for i in kept], [examples[i] for i in kept], labels, [str(rows[i]["user"]) for i in kept]


def _preference(of: Mapping[str, PreferenceLike] | Callable[[str], PreferenceLike], user: str) -> PreferenceLike:
    if not isinstance(of, Mapping):
        return of(user)
    known = {str(name): preference for name, preference in of.items()}
    if user not in known:
        raise unknown_name("user in preference_of_user", user, known)
    return known[user]


@torch.no_grad()
def _differences(
    policy: SteerablePolicy,
    prompts: Sequence[Text],
    examples: Sequence[Example],
    weights: Tensor,
    per_token: bool,
    batch_size: int,
) -> Tensor:
    """`[n]`: log-prob of a minus log-prob of b after these prompts, under `[n, K]` weights."""
    found = torch.zeros(len(examples), dtype=torch.float64)
    a, b = [e.completion for e in examples], [cast("Text", e.other) for e in examples]
    ids = tokenize_pairs(policy, prompts, a, b)
    told = policy.encode([as_asked(*of) for of in zip(prompts, a, b, strict=True)], weights)
    heads = [head[: len(head) - pair.cut] for head, pair in zip(told, ids, strict=True)]
    order = sorted(range(len(ids)), key=lambda i: len(heads[i]) + max(len(ids[i].a), len(ids[i].b)))
    was_training = policy.model.training
    policy.model.eval()
    step = max(1, batch_size // 2)
    for start in range(0, len(order), step):
        some = order[start : start + step]
        ends = [ids[i].a for i in some] + [ids[i].b for i in some]
        both = completion_log_probs(
            policy.model, policy, [heads[i] for i in some] * 2, ends, weights[some].repeat(2, 1)
        )
        values = both.cpu().double()
        if per_token:
            values = values / torch.tensor([max(1, len(end)) for end in ends])
        found[some] = values[: len(some)] - values[len(some) :]
    policy.model.train(was_training)
    return found


def _reward_margins(
    reward: VectorReward | Callable[[Sequence[Mapping[str, Any]]], Tensor],
    policy: SteerablePolicy,
    rows: Sequence[Mapping[str, Any]],
    examples: Sequence[Example],
    weights: Tensor,
) -> Tensor:
    if not isinstance(reward, VectorReward):
        return reward(rows)
    for name in policy.objectives:
        if name not in reward.objectives:
            raise unknown_name("objective of the reward", name, reward.objectives)
    columns = [reward.objectives.index(name) for name in policy.objectives]
    texts = [e.completion for e in examples] + [cast("Text", e.other) for e in examples]
    a, b = score_checked(reward, [e.prompt for e in examples] * 2, texts)[:, columns].double().chunk(2)
    return (weights * (a - b)).sum(dim=1)


def _with_demonstrations(
    policy: SteerablePolicy,
    examples: Sequence[Example],
    users: Sequence[str],
    demonstrations: Sequence[Mapping[str, Any]],
    objective: str | None,
    most: int,
    max_length: int | None,
) -> tuple[list[Text], dict[str, int]]:
    """Prompts after as many of their users' demonstrations as fit, and the fewest of each user."""
    _, known, _, owners = _read(demonstrations, objective, "demonstrations")
    judged = {(user, _key(example)) for user, example in zip(users, examples, strict=True)}
    of_user: dict[str, list[Example]] = {}
    for number, (owner, example) in enumerate(zip(owners, known, strict=True)):
        if (owner, _key(example)) in judged:
            raise InputError(f"demonstrations: pair {number} of user '{owner}' is one of those to be ranked")
        of_user.setdefault(owner, []).append(example)
    told: list[Text] = []
    shown: dict[str, int] = {}
    ends = [cast("Text", example.other) for example in examples]
    ids = tokenize_pairs(policy, [e.prompt for e in examples], [e.completion for e in examples], ends)
    for user, example, pair in zip(users, examples, ids, strict=True):
        some = of_user.get(user, [])[-most:] if most else []
        longest = max(len(pair.a), len(pair.b))
        while some and max_length and len(policy.encode([demonstrate(some, example.prompt)])[0]) + longest > max_length:
            some = some[1:]
        told.append(demonstrate(some, example.prompt) if some else example.prompt)
        shown[user] = min(shown.get(user, len(some)), len(some))
    return told, shown


def _key(example: Example) -> Any:
    return text_key(example.prompt), frozenset((text_key(example.completion), text_key(cast("Text", example.other))))
