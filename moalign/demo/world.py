"""A support desk in a few hundred words: draws customers' messages and replies that trade facts, warmth and brevity.

The world is the demo's only source of text, so that the whole pipeline runs without a network. A *prompt* is one customer message,

    Customer: Hi, this is Anna. My blue lamp arrived broken on Monday. What can I do?
    Reply:

(no space after the last colon), and a *reply* is one to five short sentences, each with one space before it, so that prompt + reply is the
plain text: ` We will send a new lamp. I am so sorry about that.` Every sentence is one of four kinds: a *fact* that helps with this
problem, a *warm* sentence, a *filler*, or a *wrong* fact that belongs to another problem. Replies are drawn from a mixture of styles, whose
probabilities are known exactly (`reply_log_probability`); so the loss of a language model can be compared with the best possible one.
"""

import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from frontier.errors import InputError
from moalign.demo.texts import COLOURS, DAYS, FACTS, FILLERS, ITEMS, NAMES, OPENINGS, PROBLEMS, QUESTIONS, WARM


@dataclass(frozen=True)
class Style:
    """How a reply is written: how often this style occurs, and the chance that a sentence of it is of each kind."""

    probability: float
    fact: float
    warm: float
    filler: float
    wrong: float


# Wide on purpose: a policy that is steered by reweighting the reference can only reach what the reference sometimes does.
STYLES = (
    Style(0.30, fact=0.76, warm=0.08, filler=0.14, wrong=0.02),
    Style(0.30, fact=0.08, warm=0.76, filler=0.14, wrong=0.02),
    Style(0.25, fact=0.42, warm=0.42, filler=0.14, wrong=0.02),
    Style(0.15, fact=0.17, warm=0.17, filler=0.64, wrong=0.02),
)
SENTENCES = {1: 0.20, 2: 0.20, 3: 0.20, 4: 0.20, 5: 0.20}

_SLOTS = {"{name}": NAMES, "{colour}": COLOURS, "{item}": ITEMS, "{day}": DAYS}
_SLOT_OF_WORD = {word: slot for slot, words in _SLOTS.items() for word in words}
_KIND_OF_TEMPLATE = (
    {wording: ("fact", fact) for fact, wordings in FACTS.items() for wording in wordings}
    | {sentence: ("warm", sentence) for sentence in WARM}
    | {sentence: ("filler", sentence) for sentence in FILLERS}
)
_PROBLEM_OF_TEMPLATE = {statement: kind for kind, problem in PROBLEMS.items() for statement in problem.statements}
_PROMPT = re.compile(r"\ACustomer: (?P<message>[^\n]*)\nReply:\Z")


@dataclass(frozen=True)
class Situation:
    """Who writes about what: all that a reply needs to know of its prompt."""

    problem: str
    item: str
    colour: str
    name: str

    @property
    def facts(self) -> tuple[str, ...]:
        """The names of the facts that help here."""
        return PROBLEMS[self.problem].facts

    def fill(self, template: str) -> str:
        """The sentence that a template becomes in this situation."""
        return template.format(item=self.item, colour=self.colour, name=self.name)

    def matches(self, slots: dict[str, str]) -> bool:
        """Whether a sentence speaks of this situation's own item, colour and name."""
        own = {"{item}": self.item, "{colour}": self.colour, "{name}": self.name}
        return all(own.get(slot) == word for slot, word in slots.items())


@dataclass(frozen=True)
class Sentence:
    """One sentence of a reply as the world reads it.

    Args:
        text (`str`): the sentence, spaces at its ends removed.
        kind (`str`): `"fact"`, `"warm"`, `"filler"`, or `"malformed"` for everything that the world never says.
        meaning (`str`): which fact, warm sentence or filler; two wordings of one fact share it. Empty when malformed.
        slots (`dict[str, str]`): the item, colour or name that the sentence mentions, by slot.
    """

    text: str
    kind: str
    meaning: str
    slots: dict[str, str]


def split_sentences(text: str) -> list[str]:
    """Cut at `.`, `!` and `?`; a rest without an end mark is a sentence of its own (and will be malformed)."""
    return [piece.strip() for piece in re.findall(r"[^.!?]*[.!?]|[^.!?]+\Z", text) if piece.strip()]


def _template(sentence: str) -> tuple[str, dict[str, str]]:
    """A sentence with its names, colours, items and days put back into slots, and what stood in them."""
    slots: dict[str, str] = {}

    def put_back(match: re.Match[str]) -> str:
        word = match.group()
        slot = _SLOT_OF_WORD.get(word, word)
        if slot != word:
            slots[slot] = word
        return slot

    return re.sub(r"[A-Za-z]+", put_back, sentence), slots


def parse_reply(reply: str) -> list[Sentence]:
    """Read a reply sentence by sentence. Any text is accepted: what the world does not say comes back as malformed."""
    sentences = []
    for text in split_sentences(reply):
        template, slots = _template(text)
        kind, meaning = _KIND_OF_TEMPLATE.get(template, ("malformed", ""))
        sentences.append(Sentence(text, kind, meaning, slots))
    return sentences


@lru_cache(maxsize=4096)
def parse_prompt(prompt: str) -> Situation | None:
    """The situation that a prompt describes, or `None` where it is not one of this world's prompts."""
    match = _PROMPT.match(prompt)
    if match is None:
        return None
    problem, found = None, {}
    for text in split_sentences(match["message"]):
        template, slots = _template(text)
        problem = _PROBLEM_OF_TEMPLATE.get(template, problem)
        found.update(slots)
    if problem is None or not {"{item}", "{colour}", "{name}"} <= found.keys():
        return None
    return Situation(problem, found["{item}"], found["{colour}"], found["{name}"])


def draw_prompt(rng: random.Random) -> str:
    """One customer message, every choice uniform."""
    problem = PROBLEMS[rng.choice(list(PROBLEMS))]
    message = " ".join((rng.choice(OPENINGS), rng.choice(problem.statements), rng.choice(QUESTIONS)))
    filled = message.format(
        name=rng.choice(NAMES), colour=rng.choice(COLOURS), item=rng.choice(problem.items), day=rng.choice(DAYS)
    )
    return f"Customer: {filled}\nReply:"


def split_prompts(train: int, held_out: int, seed: int) -> tuple[list[str], list[str]]:
    """Distinct prompts in two disjoint lists, the same for the same seed; each held-out one is unknown to training.

    Args:
        train (`int`): how many prompts for training.
        held_out (`int`): how many prompts for measuring.
        seed (`int`): the same seed and sizes give the same lists on every machine.

    Raises:
        InputError: more prompts are asked for than the world comfortably has.
    """
    if train < 0 or held_out < 0 or train + held_out > 100_000:
        raise InputError(f"the demo world splits 0 to 100000 prompts, found {train} + {held_out}")
    rng = random.Random(f"prompts {seed}")
    distinct: dict[str, None] = {}
    while len(distinct) < train + held_out:
        distinct[draw_prompt(rng)] = None
    prompts = list(distinct)
    return prompts[held_out:], prompts[:held_out]


def draw_reply(situation: Situation, rng: random.Random) -> str:
    """One reply, every sentence after one space, never saying the same thing twice."""
    (style,) = rng.choices(STYLES, [style.probability for style in STYLES])
    (count,) = rng.choices(list(SENTENCES), list(SENTENCES.values()))
    kinds = rng.choices(
        ("fact", "warm", "filler", "wrong"), (style.fact, style.warm, style.filler, style.wrong), k=count
    )
    left = _choices(situation)
    reply = ""
    for kind in kinds:
        meaning = left[kind].pop(rng.randrange(len(left[kind])))
        template = rng.choice(FACTS[meaning]) if kind in ("fact", "wrong") else meaning
        reply += " " + situation.fill(template)
    return reply


def reply_log_probability(prompt: str, reply: str) -> float:
    """The exact log probability, in nats, with which the world answers this prompt by this reply; `-inf` if it never does.

    Its mean over drawn replies is minus the corpus's entropy: no language model has a lower loss per reply.
    """
    situation = parse_prompt(prompt)
    sentences = parse_reply(reply)
    if situation is None or reply != "".join(" " + sentence.text for sentence in sentences):
        return -math.inf
    left = _choices(situation)
    log_choices, kinds = 0.0, []
    for sentence in sentences:
        kind = "wrong" if sentence.kind == "fact" and sentence.meaning not in situation.facts else sentence.kind
        if kind == "malformed" or sentence.meaning not in left[kind] or not situation.matches(sentence.slots):
            return -math.inf
        wordings = len(FACTS[sentence.meaning]) if sentence.kind == "fact" else 1
        log_choices -= math.log(len(left[kind]) * wordings)
        left[kind].remove(sentence.meaning)
        kinds.append(kind)
    # The style is not written in the reply: sum over it.
    likelihood = sum(style.probability * math.prod(getattr(style, kind) for kind in kinds) for style in STYLES)
    likelihood *= SENTENCES.get(len(sentences), 0.0)
    return math.log(likelihood) + log_choices if likelihood > 0 else -math.inf


def draw_replies(prompts: Sequence[str], per_prompt: int, seed: int) -> list[tuple[str, str]]:
    """`(prompt, reply)` pairs: `per_prompt` replies drawn from the world for each prompt, in the prompts' order.

    Raises:
        InputError: a prompt is not one of this world's.
    """
    rng = random.Random(f"replies {seed}")
    pairs: list[tuple[str, str]] = []
    for prompt in prompts:
        situation = parse_prompt(prompt)
        if situation is None:
            raise InputError(f"the demo world has no reply for {prompt!r}: its prompts come from split_prompts")
        pairs.extend((prompt, draw_reply(situation, rng)) for _ in range(per_prompt))
    return pairs


def draw_reply_pairs(prompts: Sequence[str], count: int, seed: int) -> tuple[list[str], list[str], list[str]]:
    """`count` prompts (cycled) with two different replies each, drawn from the world: what annotators compare.

    Returns:
        `tuple[list[str], list[str], list[str]]`: the prompts, the first replies, the second replies.
    """
    chosen = [prompts[i % len(prompts)] for i in range(count)]
    first = [reply for _, reply in draw_replies(chosen, 1, seed)]
    second = [reply for _, reply in draw_replies(chosen, 1, seed + 1)]
    rng = random.Random(f"pairs {seed}")
    for i, prompt in enumerate(chosen):
        situation = parse_prompt(prompt)
        while situation is not None and first[i] == second[i]:
            second[i] = draw_reply(situation, rng)
    return chosen, first, second


def all_text() -> Iterator[str]:
    """Every word that the world can say, in the spelling and spacing in which it says it: what a tokenizer must cover."""
    yield "Customer:\nReply:"
    values = {"name": NAMES, "colour": COLOURS, "item": ITEMS, "day": DAYS}
    templates = [*OPENINGS, *QUESTIONS, *_PROBLEM_OF_TEMPLATE, *_KIND_OF_TEMPLATE]
    for i in range(max(len(words) for words in values.values())):
        filling = {slot: words[i % len(words)] for slot, words in values.items()}
        yield from (" " + template.format(**filling) for template in templates)


def _choices(situation: Situation) -> dict[str, list[str]]:
    """What a reply may still say, by kind."""
    return {
        "fact": list(situation.facts),
        "warm": list(WARM),
        "filler": list(FILLERS),
        "wrong": [fact for fact in FACTS if fact not in situation.facts],
    }
