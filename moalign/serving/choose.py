"""Let a client find its preference by comparing two points of the bundle's front at a time; the conversation travels with the client."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frontier.choose.elicit import AnswerModel, Elicitation, Question, Settings
from frontier.errors import InputError
from frontier.front import ParetoFront
from moalign.serving.errors import ApiError
from moalign.serving.request import FieldError
from moalign.serving.schemas import ChooseBody

# A longer conversation is replayed on every request, so its cost grows with its length.
MOST_QUESTIONS = 50
# The longest conversation takes 3 seconds of a core on a front of 256 points with 4 objectives, and 14 on one of 512.
MOST_POINTS, MOST_REWARDS = 256, 1024
# Characters of an error that are sent back.
MOST_SHOWN = 300
# Fields of a request that begins a conversation, by the names of `Settings`; `model` is taken by OpenAI's API.
SETTINGS = {"utility": "model", "max_questions": "max_questions", "regret": "regret", "seed": "seed"}


def front_of(bundle: str | Path) -> ParetoFront | None:
    """The front that `moalign front` wrote into a bundle, without its rewards on each prompt, which no question needs; `None` where there is none.

    Raises:
        InputError: there is one, and it can't be read.
    """
    path = Path(bundle) / "front.json"
    return ParetoFront.load(path, prompt_rewards=False) if path.is_file() else None


def choose(front: ParetoFront, body: ChooseBody, numbers: Sequence[int] | None = None) -> dict[str, Any]:
    """The next question or the choice, and the state to send back with the answer.

    Args:
        front (`ParetoFront`): the points that can be asked for, of the served bundle.
        body (`ChooseBody`): without a state, a conversation begins.
        numbers (`Sequence[int]`, *optional*): what clients call each point, by default its place: its number in the whole front.

    Returns:
        `dict`: `{"object": "preference.choice", "done", "question", "choice", "state"}`; `question` is `null` once `done`. `choice` is the best guess at any time, and its
        `preference` can be sent with a completion request.

    Raises:
        ApiError: 409, nobody can be asked about this front.
        FieldError: the state is not one of ours or of another front, or a value is out of its range.
    """
    _check_front(front)
    numbers = range(len(front.points)) if numbers is None else numbers
    talk, pending = _begun(front, body) if body.state is None else _continued(front, body)
    if body.answer is not None:
        if pending is None:
            raise FieldError("answer", f"no question is open, found {body.answer!r}; leave it out")
        try:
            talk.answer(pending, body.answer)
        except InputError as error:
            raise FieldError("answer", str(error)) from error
        pending = None
    question = _pair(talk.question()) if pending is None else pending
    shown = question and {name: _point(front, i, numbers) for name, i in zip("ab", question, strict=True)}
    return {
        "object": "preference.choice",
        "done": question is None,
        "question": shown,
        "choice": _choice(front, talk, numbers),
        # The question stands in the state: a server of another kind might break a tie between questions differently.
        "state": {"question": question, "elicitation": talk.to_json()},
    }


def _check_front(front: ParetoFront) -> None:
    """Nothing that a client sends mends a front of one point, of too many, or with a reward that is not known."""
    try:
        if len(front.points) > MOST_POINTS or front.rewards.size > MOST_REWARDS:
            raise InputError(
                f"it has {len(front.points)} points with {len(front.objectives)} objectives, allowed: {MOST_POINTS} points, {MOST_REWARDS} rewards in all"
            )
        Elicitation(front)
    except InputError as error:
        why = f"nobody can be asked about the front of this bundle: {error}"
        raise ApiError(409, _shortened(why), None, "no_choice") from error


def _begun(front: ParetoFront, body: ChooseBody) -> tuple[Elicitation, None]:
    if body.answer is not None:
        raise FieldError("answer", "needs the state that came with its question")
    settings = {SETTINGS[name]: value for name in SETTINGS if (value := getattr(body, name)) is not None}
    return Elicitation(front, **settings), None


def _continued(front: ParetoFront, body: ChooseBody) -> tuple[Elicitation, tuple[int, int] | None]:
    for name in SETTINGS:
        if getattr(body, name) is not None:
            raise FieldError(name, "is set when a conversation begins, leave it out beside a state")
    state = body.state
    assert state is not None
    try:
        if set(state) != {"question", "elicitation"}:
            raise InputError(
                f"expected the fields question and elicitation, found {', '.join(sorted(state)) or 'none'}"
            )
        talk = Elicitation.from_json(state["elicitation"])
        _check(front, talk)
        return talk, _question(state["question"], talk)
    except InputError as error:
        raise FieldError("state", f"{_shortened(str(error))}; send it back as it came") from error


def _shortened(message: str) -> str:
    """An error may quote what a client sent, which may be long."""
    return message if len(message) <= MOST_SHOWN else message[: MOST_SHOWN - 3] + "..."


def _check(front: ParetoFront, talk: Elicitation) -> None:
    """What a client could change to make a request expensive, or its choice meaningless."""
    if not np.array_equal(talk.candidates, front.rewards):
        raise InputError("the conversation is about another front than the one that is served")
    for name in ("criterion", "samples"):
        found, ours = getattr(talk.settings, name), getattr(Settings(), name)
        if found != ours:
            raise InputError(f"{name} is not for the client to set: found {found}, allowed: {ours}")
    if talk.answers != AnswerModel():
        raise InputError(f"the model of the answers is not for the client to set, allowed: {AnswerModel()}")
    if talk.settings.max_questions > MOST_QUESTIONS:
        raise InputError(f"at most {MOST_QUESTIONS} questions are allowed")
    if len(talk.history) > talk.settings.max_questions:
        raise InputError(
            f"it holds {len(talk.history)} answers, allowed: {talk.settings.max_questions} (max_questions)"
        )


def _question(found: Any, talk: Elicitation) -> tuple[int, int] | None:
    if found is None:
        return None
    whole = isinstance(found, list) and len(found) == 2 and all(type(i) is int for i in found)
    if not whole or not all(0 <= i < len(talk.candidates) for i in found):
        raise InputError(f"question must be two candidates or null, found {found!r}")
    return found[0], found[1]


def _pair(question: Question | None) -> tuple[int, int] | None:
    return None if question is None else (question.a, question.b)


def _point(front: ParetoFront, index: int, numbers: Sequence[int]) -> dict[str, Any]:
    point = front.points[index]
    return {
        "index": numbers[index],
        "preference": point.preference,
        "rewards": dict(zip(front.objectives, point.rewards, strict=True)),
        # NaN = not known, for which JSON has null
        "standard_error": {
            name: error if error == error else None
            for name, error in zip(front.objectives, point.standard_error, strict=True)
        },
        "sample": sample if isinstance(sample := point.extra.get("sample"), str) else None,
    }


def _choice(front: ParetoFront, talk: Elicitation, numbers: Sequence[int]) -> dict[str, Any]:
    choice = talk.choice()
    weights = zip(front.objectives, choice.weights, choice.low, choice.high, strict=True)
    return _point(front, choice.index, numbers) | {
        "questions": len(talk.history),
        "regret": choice.regret,
        "probability": choice.probability,
        "weights": {name: {"mean": mean, "low": low, "high": high} for name, mean, low, high in weights},
    }
