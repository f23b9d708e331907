"""Edit replies as a careful collector of preferences would: say a sentence again, leave one out, add one of another reply, say nothing.

A language model hardly ever repeats itself or stays silent, but a policy that is trained against a reward model soon tries both. Heads that have never seen
such replies judged can be fooled by them; and pairs that differ in one sentence teach what that sentence is worth.
"""

import random
from collections.abc import Sequence

from moalign.demo.world import split_sentences


def edit_reply(reply: str, other: str, rng: random.Random) -> str:
    """One random edit of a reply; sentences keep the one space before them.

    Args:
        reply (`str`): a reply of the world, possibly empty.
        other (`str`): another reply to the same prompt, to take a sentence from.
        rng (`random.Random`): of the choices.
    """
    sentences = split_sentences(reply)
    kind = rng.choice(("repeat", "drop", "add", "add", "silence") if sentences else ("add",))
    if kind == "silence" and rng.random() < 0.5:
        return ""
    if kind == "repeat":
        sentences.insert(rng.randrange(len(sentences) + 1), rng.choice(sentences))
    elif kind == "drop":
        sentences.pop(rng.randrange(len(sentences)))
    else:
        foreign = split_sentences(other) or sentences
        if foreign:
            sentences.insert(rng.randrange(len(sentences) + 1), rng.choice(foreign))
    return "".join(f" {sentence}" for sentence in sentences)


def edit_some(first: Sequence[str], second: Sequence[str], share: float, seed: int) -> list[str]:
    """The second replies of pairs, a share of them replaced by edits of the first.

    Args:
        first (`Sequence[str]`): N replies.
        second (`Sequence[str]`): N other replies to the same prompts.
        share (`float`): how many of the pairs compare a reply with its own edit, in [0, 1].
        seed (`int`): of the choices.
    """
    rng = random.Random(f"edits {seed}")
    return [edit_reply(a, b, rng) if rng.random() < share else b for a, b in zip(first, second, strict=True)]
