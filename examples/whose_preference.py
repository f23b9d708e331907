"""Learn what one person wants from a few comparisons, with how sure one can be, and ask next what tells most.

    python examples/whose_preference.py --questions 10

A crowd that answered before says what people are like; a newcomer starts from there. Here everybody is simulated, so that the truth is known: rewards are programs, people weigh them
differently and answer with noise. With real people, give `fit_objective_texts` your rows of pairs with a `user`, and any reward (heads, probes, programs, several combined).
"""

import argparse
import random

import torch

from reward_heads import CombinedReward, FunctionReward, NormalizedReward, Normalizer, rules
from reward_heads.users import fit_objective_texts, next_pair

FRIENDLY = ("Happy to help!", "Thank you for writing!", "I am glad you asked.", "Sorry for the trouble!")
FACTS = (
    "Your parcel left on Monday.",
    "It arrives on Friday.",
    "The tracking number is in your account.",
    "A courier brings it.",
)


def texts(n: int, seed: int) -> list[str]:
    """Replies with more or fewer facts and courtesies."""
    draw = random.Random(seed)
    replies = []
    for _ in range(n):
        parts = draw.sample(FACTS, draw.randint(0, 4)) + draw.sample(FRIENDLY, draw.randint(0, 3))
        replies.append(" ".join(draw.sample(parts, len(parts))) or "Hm.")
    return replies


def make_reward(sample: list[str]) -> NormalizedReward:
    """Three objectives on one scale: weights mean something only then."""
    thorough = FunctionReward({"thorough": lambda prompt, completion: float(sum(fact in completion for fact in FACTS))})
    warm = FunctionReward({"warm": lambda prompt, completion: float(sum(word in completion for word in FRIENDLY))})
    reward = CombinedReward([thorough, warm, FunctionReward({"brief": rules.brevity})])
    scores = reward.score([""] * len(sample), sample)
    return NormalizedReward(reward, Normalizer.from_scores(scores, reward.objectives, "replies"))


def answers(reward: NormalizedReward, weights: torch.Tensor, pairs: list[tuple[str, str]], seed: int) -> list[float]:
    """Noisy answers of someone who weighs the objectives so: 4 nats per standard deviation."""
    a, b = (reward.score([""] * len(pairs), [pair[side] for pair in pairs]) for side in (0, 1))
    chance = torch.sigmoid(4.0 * (a - b) @ weights)
    return torch.bernoulli(chance, generator=torch.Generator().manual_seed(seed)).tolist()


def rows(user: str, pairs: list[tuple[str, str]], labels: list[float]) -> list[dict]:
    """Pairs as moalign reads them."""
    return [
        {"prompt": "", "completion_a": a, "completion_b": b, "labels": {"better": label}, "user": user}
        for (a, b), label in zip(pairs, labels, strict=True)
    ]


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Learn from a crowd, then ask a newcomer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=60, help="how many answered before")
    parser.add_argument("--questions", type=int, default=10, help="how many the newcomer is asked")
    options = parser.parse_args(arguments)
    reward = make_reward(texts(500, 0))
    draw = torch.distributions.Dirichlet(torch.tensor([1.5, 1.5, 1.5]))
    torch.manual_seed(0)
    crowd = []
    for person in range(options.people):
        replies = texts(40, 100 + person)
        pairs = list(zip(replies[::2], replies[1::2], strict=True))
        crowd += rows(f"person{person}", pairs, answers(reward, draw.sample(), pairs, person))
    model = fit_objective_texts(reward, crowd)

    truth = torch.tensor([0.15, 0.65, 0.2])
    replies = texts(80, 7)
    candidates = list(zip(replies[::2], replies[1::2], strict=True))
    differences = model.differences(rows("newcomer", candidates, [1.0] * len(candidates)))
    asked: list[int] = []
    known = model.population()
    print(f"before any question: {known.table()}\n")
    for number in range(options.questions):
        question = next_pair(known, differences, asked=asked)
        asked.append(question.pair)
        shown = [candidates[i] for i in asked]
        labels = [answers(reward, truth, [pair], 1000 + i)[0] for i, pair in zip(asked, shown, strict=True)]
        known = model.posterior(rows("newcomer", shown, labels))
        print(f"question {number + 1}, worth {question.information:.2f} nats: {'a' if labels[-1] else 'b'}")
    print(
        f"\n{known.table()}\n\nthe truth: " + ", ".join(f"{k} {w:.2f}" for k, w in zip(model.names, truth, strict=True))
    )
    print(f"as a request's preference: {','.join(f'{k}={w:.2f}' for k, w in known.weights.items())}")
    return known.weights


if __name__ == "__main__":
    main()
