"""Real people with different tastes: votes on chatbot answers and ratings of politeness, predicted for each voter by four user models and two simple ones.

Each is learned from the votes on some pairs and judged by the votes of the same people on others: pairs that nobody's training vote was on, in the harder split prompts. Accuracy is
over all votes with a winner (ties train as one half and are not judged); its 95 % interval resamples people.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor

from benchmarks.report import Row
from benchmarks.reward_heads.context import Context
from moalign.policy_accuracy import accuracy_of
from reward_heads.probes import Embedder
from reward_heads.users import UserGroupsConfig, fit_feature_groups
from reward_heads.users.latent import LatentConfig, LatentUsers, fit_latent_users
from reward_heads.users.linear import LinearScorer
from reward_heads.users.low_rank_config import LowRankConfig
from reward_heads.users.low_rank_fit import fit_low_rank_users
from reward_heads.users.posterior import UserModel

COMPONENTS = 24  # of the embedding, beside the length
LONGEST = 192
NAMES = {
    "pooled": "one linear reward for all",
    "length": "one reward for all, and a taste for length of each person's own",
    "mixture": "groups of people (expectation-maximisation, number by held-out likelihood)",
    "low_rank": "low-rank rewards (LoRe with a population)",
    "latent": "variational latent (VPL with a set encoder), tastes chosen by the rule of one standard error as groups and ranks are",
    "latent_strict": "variational latent with its default rule of two standard errors, which rather says that nobody differs",
}


@dataclass(frozen=True)
class Votes:
    """N votes.

    Args:
        texts (`list[tuple[str, str]]`): distinct (prompt, completion).
        a (`Tensor`), b (`Tensor`): `[N]` positions of the two texts.
        labels (`Tensor`): `[N]`, 1 where a won, 0.5 for a tie.
        users (`list[str]`): N people.
        units (`Tensor`): `[N]`, what a split keeps together; −1 = in neither part of any.
    """

    texts: list[tuple[str, str]]
    a: Tensor
    b: Tensor
    labels: Tensor
    users: list[str]
    units: Tensor


def rows(context: Context) -> list[Row]:
    """`votes.*`: split by pair; `votes.by_prompt.*`: by prompt; `politeness.*`: by text."""
    embedder = Embedder.from_pretrained(
        context.encoder, max_length=LONGEST, truncation_side="right", batch_size=32, cache=context.scratch / "votes"
    )
    by_pair, by_prompt = crowd(context.loaders, context.quick)
    found: list[Row] = []
    for name, votes, folds, what in (
        ("votes", by_pair, 1, "votes on chatbot answers, pairs that nobody's training vote was on"),
        ("votes.by_prompt", by_prompt, 1 if context.quick else 3, "votes on answers to prompts without training votes"),
        (
            "politeness",
            politeness(context.loaders, context.quick),
            1,
            "which of two requests a rater found more polite",
        ),
    ):
        vectors = embedder.embed(*zip(*votes.texts, strict=True)).double()
        words = torch.tensor([math.log(1 + len(text.split())) for _, text in votes.texts], dtype=torch.float64)
        found += _measured(name, votes, vectors, words, folds, what, context.quick)
    return found


def crowd(loaders: ModuleType, quick: bool) -> tuple[Votes, Votes]:
    """People's votes, with the pairs and with the prompts as units. The same two answers can stand under several numbers: they are one pair."""
    votes = loaders.crowd_votes()
    prompts = sorted({vote["prompt"] for vote in votes})
    if quick:
        votes = [vote for vote in votes if vote["prompt"] in prompts[:3]]
    label = {"left": 1.0, "right": 0.0, "tie": 0.5}
    texts: dict[tuple[str, str], int] = {}
    kept = [vote for vote in votes if vote["left"] != vote["right"]]
    sides = [[texts.setdefault((v["prompt"] + "\n", v[side]), len(texts)) for side in ("left", "right")] for v in kept]
    a, b = torch.tensor(sides).T
    labels = torch.tensor([label[vote["winner"]] for vote in kept], dtype=torch.float64)
    users = [f"user{vote['user']}" for vote in kept]
    pairs: dict[frozenset[int], int] = {}
    numbers = torch.tensor([pairs.setdefault(frozenset(pair), len(pairs)) for pair in sides])
    asked = torch.tensor([prompts.index(vote["prompt"]) for vote in kept])
    return tuple(Votes(list(texts), a, b, labels, users, units) for units in (numbers, asked))  # type: ignore[return-value]


def politeness(loaders: ModuleType, quick: bool) -> Votes:
    """Pairs of requests that the same rater scored, at most 60 of a rater and part; a rater's every text is in one pair, and a text is either trained on or judged."""
    draw = random.Random(0)
    texts: list[tuple[str, str]] = []
    scores: dict[tuple[str, int, str], list[tuple[int, float]]] = {}
    for part in ("wikipedia", "stack-exchange"):
        found = loaders.politeness(part)
        for row in draw.sample(found, 200 if quick else 2000):
            half = int(draw.random() < 0.3)  # unit 1 is judged
            for i in range(1, 6):
                rater = (row[f"worker{i}"], half, part)
                scores.setdefault(rater, []).append((len(texts), float(row[f"score{i}"])))
            texts.append(("", row["request"]))
    votes: list[tuple[int, int, float, str, int]] = []
    for (name, half, _), rated in scores.items():
        draw.shuffle(rated)
        # Several pairs with one text would share its rating: what looks like taste would be noise seen twice.
        for (i, x), (j, y) in list(zip(rated[::2], rated[1::2], strict=False))[:60]:
            votes.append((i, j, 0.5 + 0.5 * (x > y) - 0.5 * (x < y), name, half))
    a, b, labels, users, units = zip(*votes, strict=True)
    return Votes(
        *(texts, torch.tensor(a), torch.tensor(b), torch.tensor(labels, dtype=torch.float64)),
        *(list(users), torch.tensor(units)),
    )


def _measured(name: str, votes: Votes, vectors: Tensor, words: Tensor, folds: int, what: str, quick: bool) -> list[Row]:
    margins: dict[str, list[Tensor]] = {}
    labels: list[Tensor] = []
    users: list[str] = []
    latents: list[LatentUsers] = []
    swaps = []
    for train, test in _folds(votes, folds):
        features = _features(vectors, words, votes, train)
        judged = (votes.labels[test] != 0.5) & torch.tensor(
            [votes.users[i] in {votes.users[j] for j in train.tolist()} for i in test.tolist()]
        )
        test = test[judged]
        predictions, latent = _predictions(features, votes, train, test, quick)
        for key, chances in predictions.items():
            margins.setdefault(key, []).append(chances - 0.5)
        labels.append(votes.labels[test])
        users += [votes.users[i] for i in test.tolist()]
        latents.append(latent)
        differences = latent.components(features[votes.a[train]] - features[votes.b[train]])
        swaps.append(latent.swap_test(differences, votes.labels[train], [votes.users[i] for i in train.tolist()]))
    right = torch.cat(labels)
    accuracy = {key: accuracy_of(torch.cat(parts), right, users) for key, parts in margins.items()}
    pooled = _right(torch.cat(margins["pooled"]), right)
    found = []
    for key, one in accuracy.items():
        text = f"{NAMES[key]}: {what}; {one.n} votes of {len(one.by_user)} people"
        if key != "pooled":
            gain, low, high = _gain(_right(torch.cat(margins[key]), right) - pooled, users)
            text += f"; better than pooled by {gain:+.3f} [{low:+.3f}, {high:+.3f}]"
            text += ", so personalisation is not shown to help here" if low <= 0 else ""
        peer = (None, None) if key == "pooled" else ("pooled", accuracy["pooled"].accuracy)
        found.append(Row(f"{name}.accuracy.{key}", text, one.accuracy, "", list(one.interval), *peer))
    units = sum(latent.active_units() for latent in latents) / len(latents)
    tried = len(latents[0].fit.units)
    found.append(
        Row(f"{name}.latent.active_units", f"tastes in use, of {tried} that were tried (mean over folds)", units)
    )
    flipped = sum(swap.flipped for swap in swaps) / len(swaps)
    found.append(
        Row(f"{name}.latent.swap", "share of predictions that change sides when all labels of a person do", flipped)
    )
    return found


def _folds(votes: Votes, folds: int) -> list[tuple[Tensor, Tensor]]:
    """Positions of training and test votes; 30 % of the units are tested, or all of them once over several folds."""
    units = votes.units.unique().tolist()
    if len(units) == 2:
        return [((votes.units == 0).nonzero().squeeze(1), (votes.units == 1).nonzero().squeeze(1))]
    random.Random(0).shuffle(units)
    size = math.ceil(len(units) * (0.3 if folds == 1 else 1 / folds))
    found = []
    for fold in range(folds):
        tested = torch.isin(votes.units, torch.tensor(units[fold * size : (fold + 1) * size]))
        found.append(((~tested).nonzero().squeeze(1), tested.nonzero().squeeze(1)))
    return found


def _features(vectors: Tensor, words: Tensor, votes: Votes, train: Tensor) -> Tensor:
    """Principal components of the training texts' differences, and the logarithm of the number of words in the last column."""
    differences = vectors[votes.a[train]] - vectors[votes.b[train]]
    directions = torch.linalg.eigh(differences.T @ differences).eigenvectors.flip(1)[:, :COMPONENTS]
    return torch.cat([vectors @ directions, words[:, None]], dim=1)


def _predictions(
    features: Tensor, votes: Votes, train: Tensor, test: Tensor, quick: bool
) -> tuple[dict[str, Tensor], LatentUsers]:
    """Each model's probability that a wins, `[test]`; and the latent model."""
    a, b, labels = features[votes.a[train]], features[votes.b[train]], votes.labels[train]
    users, asked = [votes.users[i] for i in train.tolist()], [votes.users[i] for i in test.tolist()]
    new = features[votes.a[test]] - features[votes.b[test]]
    pooled = LinearScorer(a - b, labels, 1)
    pooled.fit(torch.arange(len(train)), torch.ones(len(train), 1, dtype=torch.float64))
    margins = (a - b) @ pooled.weights[0], new @ pooled.weights[0]
    found = {"pooled": margins[1].sigmoid()}
    found["length"] = (
        margins[1] + _length_tastes(margins[0], (a - b)[:, -1], labels, users, asked) * new[:, -1]
    ).sigmoid()
    groups = fit_feature_groups(
        *(a, b, labels, users), UserGroupsConfig(max_groups=2 if quick else 4, restarts=1 if quick else 3)
    )
    shares = groups.responsibilities[torch.tensor([groups.users.index(user) for user in asked])]
    found["mixture"] = ((new @ groups.weights.T).sigmoid() * shares).sum(dim=1)
    ranks = LowRankConfig(max_rank=2, restarts=1, rounds=3) if quick else LowRankConfig(max_rank=4)
    low_rank = fit_low_rank_users(a, b, labels, users, ranks)
    steps = 20 if quick else 150
    latent = fit_latent_users(a, b, labels, users, LatentConfig(steps=steps, standard_errors=1.0))
    strict = fit_latent_users(a, b, labels, users, LatentConfig(steps=steps))
    found["low_rank"] = _by_user(low_rank, low_rank.components, a - b, labels, users, new, asked)
    found["latent"] = _by_user(latent, latent.components, a - b, labels, users, new, asked)
    found["latent_strict"] = _by_user(strict, strict.components, a - b, labels, users, new, asked)
    return found, latent


def _by_user(
    model: UserModel,
    components: Callable[[Tensor], Tensor],
    known: Tensor,
    labels: Tensor,
    users: Sequence[str],
    new: Tensor,
    asked: Sequence[str],
) -> Tensor:
    """Each person's posterior after all training votes, asked about the test votes."""
    found = torch.zeros(len(asked), dtype=torch.float64)
    for user in dict.fromkeys(asked):
        own = torch.tensor([i for i, name in enumerate(users) if name == user])
        test = torch.tensor([i for i, name in enumerate(asked) if name == user])
        found[test] = model.posterior_of(components(known[own]), labels[own]).prefers(components(new[test]))
    return found


def _length_tastes(
    margins: Tensor, lengths: Tensor, labels: Tensor, users: Sequence[str], asked: Sequence[str]
) -> Tensor:
    """`[asked]`: each person's own weight of length on top of the pooled margins, by Newton's method, pulled to 0 as if one standard unit were worth about half a nat."""
    unit = lengths.square().mean().sqrt()
    tastes: dict[str, float] = {}
    for user in dict.fromkeys(asked):
        own = torch.tensor([i for i, name in enumerate(users) if name == user])
        x, y, taste = lengths[own] / unit, labels[own], torch.zeros((), dtype=torch.float64)
        for _ in range(20):
            chance = torch.sigmoid(margins[own] + taste * x)
            slope = (x * (y - chance)).sum() - 4 * taste
            taste = taste + slope / ((x.square() * chance * (1 - chance)).sum() + 4)
        tastes[user] = float(taste / unit)
    return torch.tensor([tastes[user] for user in asked], dtype=torch.float64)


def _right(margins: Tensor, labels: Tensor) -> Tensor:
    return 0.5 + 0.5 * margins.sign() * (labels - 0.5).sign()


def _gain(differences: Tensor, users: Sequence[str]) -> tuple[float, float, float]:
    """Mean and 95 % interval, people resampled."""
    names = {user: index for index, user in enumerate(dict.fromkeys(users))}
    owner = torch.tensor([names[user] for user in users])
    counts = torch.bincount(owner).double()
    sums = torch.zeros_like(counts).index_add_(0, owner, differences)
    drawn = torch.randint(len(names), (2000, len(names)), generator=torch.Generator().manual_seed(0))
    means = sums[drawn].sum(dim=1) / counts[drawn].sum(dim=1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return float(differences.mean()), low, high
