"""`moalign choose`: find the point of a measured front that someone likes best by showing two at a time."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from frontier.errors import InputError
from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.cli.measured_front import measured_front

if TYPE_CHECKING:
    from frontier.choose.elicit import Choice, Elicitation, Question
    from frontier.front import FrontPoint, ParetoFront

TYPED = {"a": "a", "b": "b", "=": "cant_tell"}
ASK = "a, b, = (can't tell) or q (enough)? "


@dataclass
class ChooseOptions:
    """Options of `moalign choose`."""

    bundle: str = field(metadata=about("The bundle, or a folder with a front.json.", positional=True))
    prompt: str | None = field(
        default=None, metadata=about("Show completions of this prompt, sampled at both points, beside the rewards.")
    )
    answers: list[str] | None = field(
        default=None,
        metadata=about("The answers, in place of typing them: a,b,=. When they are used up, the choice is made."),
    )
    model: Literal["auto", "linear", "gp"] | None = field(
        default=None,
        metadata=about(
            "What you may want: linear (a weighted sum), gp (anything smooth) or auto (what the answers support)."
        ),
    )
    max_questions: int | None = field(default=None, metadata=about("Most questions, 12 by default."))
    regret: float | None = field(
        default=None,
        metadata=about(
            "Stop when the choice is expected to be this close to the best, as a share of your range, 0.002 by default."
        ),
    )
    resume: Path | None = field(default=None, metadata=about("Go on with the conversation of this file."))
    save: Path | None = field(
        default=None, metadata=about("Keep the conversation in this file, from the start and after every answer.")
    )
    seed: int | None = field(default=None, metadata=about("Same seed, same answers: same questions, same completions."))
    max_new_tokens: int = field(default=128, metadata=about("Longest completion in tokens, with --prompt."))
    temperature: float = field(default=1.0, metadata=about("Of the sampling, with --prompt; 0 is greedy."))
    base: str | None = field(default=None, metadata=about("Where the base model lies now, if it moved."))
    front: str | None = field(
        default=None, metadata=about("The front to choose from, by default the bundle's front.json.")
    )
    json: bool = field(default=False, metadata=about("Print the choice as JSON; questions go to stderr."))


COMMAND = Command(
    "choose",
    "Find the point of a measured front that you like best: two points at a time, answered with a, b or = (can't tell). Prints the choice, its preference "
    "and how sure it is.",
    (ChooseOptions,),
    details="An answer may be wrong: later ones outweigh it. Answers are read from the terminal, from a pipe (one a line) or from --answers.",
)


def run(arguments: Sequence[str]) -> int:
    """Ask, then print the choice."""
    values = parse(COMMAND, arguments)
    if values is None:
        return 0
    options = values.build(ChooseOptions)
    if options.max_new_tokens < 1 or options.temperature < 0:
        raise InputError(
            f"max_new_tokens must be at least 1 and temperature at least 0, found {options.max_new_tokens} and {options.temperature}"
        )
    front = measured_front(options.bundle, options.front, samples=False)
    talk = _talk(front, options)
    given = _given(options)
    _save(talk, options)  # before anything was asked: a place that can't be written to costs no answer
    texts = _Texts(front, options)
    show = sys.stderr if options.json else sys.stdout
    while (question := talk.question()) is not None:
        number = len(talk.history) + 1
        show.write(f"\n{number}. Which do you like better?\n{_shown(front, question, texts(question))}\n")
        answer = next(given, None) if given is not None else _typed(show)
        if answer is None:
            break
        talk.answer(question, answer)
        _save(talk, options)
    if given is not None and (left := len(list(given))):
        sys.stderr.write(f"--answers: the last {left} of {len(options.answers or ())} were not needed\n")
    choice = talk.choice()
    asked = len(talk.history)
    say(
        json.dumps(_document(front, choice, asked), indent=2)
        if options.json
        else _text(front, choice, asked, options.bundle)
    )
    return 0


def _talk(front: "ParetoFront", options: ChooseOptions) -> "Elicitation":
    import numpy as np

    from frontier.choose.elicit import Elicitation

    changed = {
        name: value
        for name in ("model", "max_questions", "regret", "seed")
        if (value := getattr(options, name)) is not None
    }
    if options.resume is None:
        return Elicitation(front, **changed)
    try:
        text = options.resume.read_text(encoding="utf8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{options.resume}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        talk = Elicitation.from_json(text)
    except InputError as error:
        raise InputError(f"{options.resume}: {error}") from error
    if not np.array_equal(talk.candidates, front.rewards):
        raise InputError(f"{options.resume} is a conversation about another front than the one of {options.bundle}")
    state = talk.to_json()
    state["settings"] |= changed
    replace(talk.settings, **changed)  # refuses a value in the words of its option
    return Elicitation.from_json(state)


def _save(talk: "Elicitation", options: ChooseOptions) -> None:
    if options.save is None:
        return
    from frontier.atomic import write_text

    try:
        write_text(options.save, json.dumps(talk.to_json(), allow_nan=False) + "\n")
    except OSError as error:
        raise InputError(f"--save: {options.save} cannot be written: {error.strerror or error}") from error


def _given(options: ChooseOptions) -> Iterator[str] | None:
    if options.answers is None:
        return None
    return iter([_meant(text, "--answers") for text in options.answers])


def _meant(text: str, where: str) -> str:
    found = text.strip().lower()
    if found not in TYPED:
        raise InputError(f"{where}: found {text.strip()!r}, allowed: a, b, = (can't tell)")
    return TYPED[found]


def _typed(show: Any) -> str | None:
    """The next answer from the terminal or a pipe; `None` for q and at the end."""
    while True:
        show.write(ASK)
        show.flush()
        line = sys.stdin.readline()
        found = line.strip().lower()
        if not sys.stdin.isatty():
            show.write(found + "\n")
        if not line or found in ("q", "quit"):
            return None
        try:
            return _meant(found, "answer")
        except InputError as error:
            if not sys.stdin.isatty():
                raise
            show.write(f"{error}\n")


class _Texts:
    """What the two points write: completions of `--prompt`, or the samples that were kept when the front was measured.

    Args:
        front (`ParetoFront`): the points.
        options (`ChooseOptions`): the prompt and how to sample.
    """

    def __init__(self, front: "ParetoFront", options: ChooseOptions) -> None:
        self._front, self._options = front, options
        self._policy: Any = None
        if options.prompt is not None:
            from moalign.cli.quiet import hide_loading_bars
            from moalign.policy import SteerablePolicy

            missing = [i for i, point in enumerate(front.points) if point.preference is None]
            if missing:
                raise InputError(f"--prompt needs a preference for every point, and point {missing[0]} has none")
            hide_loading_bars()
            self._policy = SteerablePolicy.from_pretrained(options.bundle, base=options.base)

    def __call__(self, question: "Question") -> list[str | None]:
        """A text for each of the two, or `None`."""
        points = [self._front.points[i] for i in (question.a, question.b)]
        if self._policy is None:
            return [sample if isinstance(sample := p.extra.get("sample"), str) else None for p in points]
        sampling: dict[str, Any] = {"do_sample": False}
        if self._options.temperature > 0:
            sampling = {"do_sample": True, "temperature": self._options.temperature, "top_p": 1.0, "top_k": 0}
        return list(
            self._policy.generate(
                [self._options.prompt] * 2,
                [p.preference for p in points],
                seed=self._options.seed or 0,
                max_new_tokens=self._options.max_new_tokens,
                **sampling,
            )
        )


def _shown(front: "ParetoFront", question: "Question", texts: "Sequence[str | None]") -> str:
    lines = []
    for name, index, text in zip("ab", (question.a, question.b), texts, strict=True):
        point = front.points[index]
        lines.append(f"  {name}) " + ", ".join(_rewards(front, point)))
        if text is not None:
            lines += ["     " + line for line in text.strip().splitlines()]
    return "\n".join(lines)


def _rewards(front: "ParetoFront", point: "FrontPoint") -> list[str]:
    return [
        f"{name} {_reward(reward, error)}"
        for name, reward, error in zip(front.objectives, point.rewards, point.standard_error, strict=True)
    ]


def _reward(reward: float, error: float) -> str:
    return f"{reward:.3f}" + (f" ± {error:.3f}" if error == error else "")  # NaN = not known


def _document(front: "ParetoFront", choice: "Choice", asked: int) -> dict[str, Any]:
    point = front.points[choice.index]
    return {
        "preference": point.preference,
        "rewards": dict(zip(front.objectives, point.rewards, strict=True)),
        "standard_error": {
            n: e if e == e else None for n, e in zip(front.objectives, point.standard_error, strict=True)
        },
        "index": choice.index,
        "questions": asked,
        "regret": choice.regret,
        "probability": choice.probability,
        "linear": choice.linear,
        "weights": {
            name: {"mean": mean, "low": low, "high": high}
            for name, mean, low, high in zip(front.objectives, choice.weights, choice.low, choice.high, strict=True)
        },
    }


def _text(front: "ParetoFront", choice: "Choice", asked: int, bundle: str) -> str:
    point = front.points[choice.index]
    lines = [
        "",
        f"After {asked} answer{'' if asked == 1 else 's'}: point {choice.index}. It is within 2 % of your best with probability {choice.probability:.0%}; expected shortfall "
        f"{choice.regret:.1%} of your range.",
    ]
    asked_for = None
    if point.preference is not None:
        from moalign.preference import Preference

        asked_for = str(Preference.from_json(point.preference, front.objectives))
        lines.append(f"preference: {asked_for}")
    width = max(map(len, front.objectives))
    cells = zip(
        front.objectives, point.rewards, point.standard_error, choice.weights, choice.low, choice.high, strict=True
    )
    for name, reward, error, weight, low, high in cells:
        lines.append(
            f"  {name:<{width}}  reward {_reward(reward, error)}   counts {weight:.2f} for you (95 %: {low:.2f} to {high:.2f})"
        )
    lines.append("(what counts is per range of an objective over the front)")
    if asked_for is not None:
        lines += ["", f"Use it: moalign generate {bundle} --preference {asked_for} --prompt TEXT"]
    return "\n".join(lines)
