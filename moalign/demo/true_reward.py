"""The demo world's own opinion of a reply: how helpful, warm and brief it really is, read from the text alone."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from moalign.demo.world import Situation, parse_prompt, parse_reply
from reward_heads.text import Text, as_messages, check_same_length, message_content, plain_text

if TYPE_CHECKING:
    from torch import Tensor

OBJECTIVES = ("helpful", "warm", "brief")
WORDS_OF_SILENCE = 40


class TrueReward:
    r"""What annotators try to see and reward heads try to learn, without noise; a `reward_heads.vector_reward.VectorReward`.

    With $f$ the number of distinct facts that help with the prompt's problem, $m$ the number of mistakes (facts that belong to another
    problem or name another item, colour or customer; facts said again; sentences that the world never says), $s$ the number of distinct
    warm sentences and $n$ the number of words:

    $$ \text{helpful} = 1 - e^{-f/2} - m/4 \text{ (at least $-1$)}, \quad \text{warm} = 1 - e^{-s/2}, \quad
    \text{brief} = -n / 10 $$

    All three are maximised. Each fact and each warm sentence adds less than the one before, so that the best mix moves smoothly with the
    weights. Only complete sentences of the world count, so gibberish has helpful below 0 and warm 0; a reply without any
    sentence of the world is no answer and counts as 40 words, more than the longest answer has. `helpful` is NaN (not known) where the prompt is not one of the world's, for nobody knows what would help.
    """

    objectives = OBJECTIVES

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> "Tensor":
        """True rewards as float32 `[B, 3]`, in the order of `objectives`, every one maximised.

        Args:
            prompts (`Sequence[Text]`): B prompts of the world, as text or as chat whose last user message is the customer's.
            completions (`Sequence[Text]`): B completions, special tokens removed; any text.

        Raises:
            InputError: the two lists differ in length.
        """
        import torch

        check_same_length(prompts, completions)
        rows = [
            score_reply(_prompt_text(prompt), plain_text(completion))
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        return torch.tensor(rows, dtype=torch.float32).reshape(len(rows), len(OBJECTIVES))


def score_reply(prompt: str, completion: str) -> tuple[float, float, float]:
    """`(helpful, warm, brief)` of one reply; see `TrueReward`."""
    situation = parse_prompt(prompt)
    facts, warm, mistakes = _count(situation, completion)
    helpful = max(1 - math.exp(-facts / 2) - mistakes / 4, -1.0) if situation else math.nan
    answers = any(sentence.kind != "malformed" for sentence in parse_reply(completion))
    return helpful, 1 - math.exp(-warm / 2), -(len(completion.split()) if answers else WORDS_OF_SILENCE) / 10


def _prompt_text(prompt: Text) -> str:
    """The prompt as the world writes it: what the tokenizer's chat template makes of a chat."""
    if isinstance(prompt, str):
        return prompt
    said = [message for message in as_messages(prompt, role="user") if message.get("role") == "user"]
    return f"Customer: {message_content(said[-1]).strip()}\nReply:" if said else ""


def _count(situation: Situation | None, completion: str) -> tuple[int, int, int]:
    """Distinct helpful facts, distinct warm sentences, mistakes."""
    facts: set[str] = set()
    warm: set[str] = set()
    mistakes = 0
    for sentence in parse_reply(completion):
        fits = situation is not None and situation.matches(sentence.slots)
        helps = situation is not None and sentence.meaning in situation.facts and sentence.meaning not in facts
        if sentence.kind == "warm" and (fits or not sentence.slots):
            warm.add(sentence.meaning)
        elif sentence.kind == "fact" and fits and helps:
            facts.add(sentence.meaning)
        elif sentence.kind != "filler":
            mistakes += 1
    return len(facts), len(warm), mistakes
