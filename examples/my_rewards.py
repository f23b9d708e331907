"""A reward vector of your own, for `--reward examples/my_rewards.py:reward`.

Each objective is a function of (prompt, completion) that returns a number, higher being better, or None where it is not known.
"""

from reward_heads import FunctionReward, rules

COURTESIES = ("please", "thank you", "thanks", "sorry", "glad", "happy to")


def polite(prompt: str, completion: str) -> float:
    """How many different courtesies the completion has."""
    text = completion.lower()
    return float(sum(phrase in text for phrase in COURTESIES))


def addresses_the_prompt(prompt: str, completion: str) -> float | None:
    """The share of the prompt's longer words that the completion takes up."""
    wanted = {word for word in rules.words(prompt) if len(word) > 3}
    if not wanted:
        return None
    return len(wanted & set(rules.words(completion))) / len(wanted)


reward = FunctionReward({"helpful": addresses_the_prompt, "brief": rules.brevity, "polite": polite})
