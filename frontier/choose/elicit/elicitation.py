"""Find the point that someone likes best by asking them to compare two at a time."""

import json
import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from frontier.choose.elicit.answers import Answer, AnswerModel, check_answer, number
from frontier.choose.elicit.posterior import Posterior, Sampler, families
from frontier.choose.elicit.questions import AS_GOOD, CRITERIA, Criterion, Question, best_question
from frontier.errors import InputError, check_fields, unknown_name
from frontier.measure import non_dominated

if TYPE_CHECKING:
    from frontier.front import ParetoFront

Model = Literal["linear", "gp", "auto"]
MODELS: tuple[Model, ...] = ("linear", "gp", "auto")
SCHEMA = "frontier.Elicitation"
SCHEMA_VERSION = 1
# What a state from outside may ask for; beyond it an answer takes seconds and hundreds of megabytes.
MOST_CANDIDATES, MOST_OBJECTIVES, MOST_QUESTIONS, MOST_SAMPLES = 512, 16, 200, 2**15


@dataclass(frozen=True)
class Settings:
    """How an elicitation asks and when it stops.

    Args:
        model (`str`, *optional*, defaults to `"auto"`): `"linear"` for a weighted sum, `"gp"` for a Gaussian process around a bent trade-off (see `ProcessUtilities`),
            `"auto"` for both, each as far as the answers support it.
        criterion (`str`, *optional*, defaults to `"choice"`): how the next question is found (see `best_question`).
        max_questions (`int`, *optional*, defaults to 12): stop after as many.
        regret (`float`, *optional*, defaults to 0.002): stop as soon as the choice is expected to fall short of the best by at most this share of the person's range of
            utility over the candidates that no other dominates. At 0.02 people are asked 2 questions fewer, and a quarter of them end more than 2 % below their best.
        samples (`int`, *optional*, defaults to 8192): utilities in the posterior's sample, a power of 2.
        seed (`int`, *optional*, defaults to 0): same seed, same answers, same questions.

    Raises:
        InputError: a value is unknown or out of its range.
    """

    model: Model = "auto"
    criterion: Criterion = "choice"
    max_questions: int = 12
    regret: float = 0.002
    samples: int = 8192
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise unknown_name("model", str(self.model), MODELS)
        if self.criterion not in CRITERIA:
            raise unknown_name("criterion", str(self.criterion), CRITERIA)
        for name, low, high in (
            ("max_questions", 1, MOST_QUESTIONS), ("samples", 256, MOST_SAMPLES), ("seed", 0, 2**32 - 1)
        ):  # fmt: skip
            value = _whole(name, getattr(self, name))
            if not low <= value <= high:
                raise InputError(f"{name} must be from {low} to {high}, found {value}")
            object.__setattr__(self, name, value)
        if self.samples & (self.samples - 1):
            raise InputError(f"samples must be a power of 2, found {self.samples}")
        object.__setattr__(self, "regret", number("regret", self.regret, 0.0, 1.0, below=True))


@dataclass(frozen=True)
class Answered:
    """A question that was answered.

    Args:
        a (`int`): the first candidate.
        b (`int`): the second.
        answer (`str`): `"a"`, `"b"` or `"cant_tell"`.
    """

    a: int
    b: int
    answer: Answer


@dataclass(frozen=True)
class Choice:
    """The candidate to take, and how sure that is.

    Args:
        index (`int`): its place among the candidates.
        weights (`tuple[float, ...]`): `[K]` posterior mean weights, sum 1, on objectives that go from 0 to 1 over the candidates that no other dominates.
        low (`tuple[float, ...]`), high (`tuple[float, ...]`): `[K]` central 95 % interval of each weight.
        regret (`float`): expected shortfall from the best candidate, as a share of the person's range of utility over the candidates that no other dominates.
        probability (`float`): that it is within 2 % of that range of the best.
        linear (`float`): the probability that the person's utility is a weighted sum of the objectives.
    """

    index: int
    weights: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    regret: float
    probability: float
    linear: float


class Elicitation:
    """Ask, take answers, choose: a conversation that JSON can hold and that goes on exactly where it was.

    Candidates that another dominates are neither asked about nor chosen; of equal ones the first stands for all. Objectives are brought to the range from 0 to 1 over the candidates
    that no other dominates, so their units don't matter. No pair is asked twice.

    Args:
        candidates (`ArrayLike` or `ParetoFront`): `[n, K]` rewards, maximised, finite, n at least 2.
        answers (`AnswerModel`, *optional*): how consistent, how undecided and how often wrong the person is.
        settings (`Settings`, *optional*): how to ask and when to stop;
        options: or single fields of it.

    Raises:
        InputError: fewer than 2 candidates, too many (512) or too many objectives (16), a reward that is not finite, or a setting out of its range.

    Example:
        >>> talk = Elicitation([[0.0, 1.0], [0.6, 0.8], [1.0, 0.0]], model="linear")
        >>> while (question := talk.question()) is not None:  # somebody who only wants the first objective
        ...     talk.answer(question, "a" if question.a > question.b else "b")
        >>> talk.choice().index
        2
    """

    def __init__(
        self,
        candidates: "ArrayLike | ParetoFront",
        *,
        answers: AnswerModel | None = None,
        settings: Settings | None = None,
        **options: Any,
    ) -> None:
        if settings is not None and options:
            raise TypeError("give either settings or single fields of them")
        for name in options:
            if name not in (names := [f.name for f in fields(Settings)]):
                raise unknown_name("setting of an elicitation", name, names)
        self.candidates = _candidates(candidates)
        self.answers = AnswerModel() if answers is None else answers
        self.settings = Settings(**options) if settings is None else settings
        self._open = np.flatnonzero(non_dominated(self.candidates))
        self._history: list[Answered] = []
        self._sampler: Sampler | None = None
        self._posterior: Posterior | None = None

    @property
    def history(self) -> tuple[Answered, ...]:
        """The answers so far."""
        return tuple(self._history)

    @property
    def posterior(self) -> Posterior:
        """What is known; its utilities are of `candidates` that no other dominates, in their order."""
        if self._posterior is None:
            self._sampler = Sampler(
                families(_to_unit_range(self.candidates[self._open]), self.settings.model),
                self.answers,
                self.settings.samples,
                self.settings.seed,
            )
            for answered in self._history:
                self._update(answered)
            self._posterior = self._sampler.posterior()
        return self._posterior

    def question(self) -> Question | None:
        """The next question, or `None` when the choice is good enough, `max_questions` are answered, or every pair was asked."""
        pairs = self._pairs()
        if len(self._history) >= self.settings.max_questions or not len(pairs):
            return None
        if self.choice().regret <= self.settings.regret:
            return None
        row, information = best_question(
            self.posterior, pairs, self.answers, self.settings.criterion, self.settings.seed + len(self._history)
        )
        a, b = self._open[pairs[row]].tolist()
        return Question(a, b, information)

    def answer(self, question: "Question | tuple[int, int]", answer: str) -> None:
        """Take in an answer.

        Args:
            question (`Question` or `tuple[int, int]`): the two candidates, in the order in which they were shown.
            answer (`str`): `"a"`, `"b"` or `"cant_tell"`.

        Raises:
            InputError: the answer is none of these; a candidate doesn't exist, or is compared with itself or one that dominates it; the pair was answered before.
        """
        a, b = (question.a, question.b) if isinstance(question, Question) else question
        answered = Answered(_whole("a", a), _whole("b", b), check_answer(answer))
        for found in (answered.a, answered.b):
            if found not in self._open:
                allowed = ", ".join(map(str, self._open))
                raise InputError(f"there is no candidate {found} to ask about; found {found}, allowed: {allowed}")
        if answered.a == answered.b:
            raise InputError(f"a question compares two candidates, found {a} twice")
        if {answered.a, answered.b} in [{each.a, each.b} for each in self._history]:
            raise InputError(f"candidates {a} and {b} were compared before")
        if len(self._history) >= MOST_QUESTIONS:
            raise InputError(f"an elicitation takes at most {MOST_QUESTIONS} answers")
        self._history.append(answered)
        if self._sampler is not None:
            self._update(answered)
            self._posterior = self._sampler.posterior()

    def choice(self) -> Choice:
        """The candidate with the greatest expected utility."""
        posterior = self.posterior
        expected = posterior.probabilities @ posterior.utilities
        best = int(expected.argmax())
        most = float(posterior.probabilities @ posterior.utilities.max(axis=1))
        good = posterior.utilities[:, best] >= 1.0 - AS_GOOD if most > 0 else np.ones(len(posterior.utilities))
        low, high = posterior.interval()
        return Choice(
            index=int(self._open[best]),
            weights=tuple(posterior.mean.tolist()),
            low=tuple(low.tolist()),
            high=tuple(high.tolist()),
            regret=max(0.0, most - float(expected[best])),
            probability=min(1.0, float(posterior.probabilities @ good)),
            linear=posterior.linear,
        )

    def to_json(self) -> dict[str, Any]:
        """Everything that `from_json` needs, as JSON values."""
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "candidates": self.candidates.tolist(),
            "answers": asdict(self.answers),
            "settings": asdict(self.settings),
            "history": [asdict(answered) for answered in self._history],
        }

    @classmethod
    def from_json(cls, document: str | Mapping[str, Any]) -> "Elicitation":
        """The elicitation that `to_json` wrote: it asks the same questions and makes the same choice.

        Args:
            document (`str` or `Mapping`): JSON text, or the object read from it.

        Raises:
            InputError: it is no such document, or a value in it is refused.
        """
        if isinstance(document, str):
            try:
                document = json.loads(document)
            except (ValueError, RecursionError) as error:
                raise InputError(f"the state of an elicitation is not valid JSON: {error}") from error
        document = _object("the state of an elicitation", document)
        if document.get("schema") != SCHEMA or document.get("schema_version") != SCHEMA_VERSION:
            raise InputError(
                f"the state must have schema {SCHEMA!r} and schema_version {SCHEMA_VERSION}, found "
                f"{document.get('schema')!r} and {document.get('schema_version')!r}"
            )
        check_fields(document, ["schema", "schema_version", "candidates", "answers", "settings", "history"])
        parts = {}
        for name, kind in (("answers", AnswerModel), ("settings", Settings)):
            parts[name] = dict(_object(name, document[name]))
            check_fields(parts[name], [f.name for f in fields(kind)])
        made = cls(
            document["candidates"], answers=AnswerModel(**parts["answers"]), settings=Settings(**parts["settings"])
        )
        history = document["history"]
        if not isinstance(history, list):
            raise InputError(f"history must be a list, found {history!r}")
        for i, row in enumerate(history):
            entry = _object(f"history[{i}]", row)
            check_fields(entry, [f.name for f in fields(Answered)])
            made.answer((entry["a"], entry["b"]), entry["answer"])
        return made

    def _update(self, answered: Answered) -> None:
        assert self._sampler is not None
        a, b = np.searchsorted(self._open, [answered.a, answered.b]).tolist()
        self._sampler.update(a, b, answered.answer)

    def _pairs(self) -> NDArray[np.intp]:
        """`[Q, 2]` pairs of open candidates that were not asked about."""
        first, second = np.triu_indices(len(self._open), 1)
        asked = {(min(h.a, h.b), max(h.a, h.b)) for h in self._history}
        kept = [(i, j) for i, j in zip(first, second, strict=True) if (self._open[i], self._open[j]) not in asked]
        return np.array(kept, dtype=np.intp).reshape(-1, 2)


def _candidates(candidates: "ArrayLike | ParetoFront") -> NDArray[np.float64]:
    found = getattr(candidates, "rewards", candidates)
    try:
        points = np.array(found, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"candidates must be rows of numbers, all of one length: {error}") from error
    if points.ndim != 2 or not points.shape[1]:
        raise InputError(f"candidates must have the shape [n, K], found {list(points.shape)}")
    if len(points) < 2:
        raise InputError(f"choosing needs at least 2 candidates, found {len(points)}")
    if len(points) > MOST_CANDIDATES or points.shape[1] > MOST_OBJECTIVES:
        raise InputError(
            f"at most {MOST_CANDIDATES} candidates with {MOST_OBJECTIVES} objectives can be asked about, found {list(points.shape)}"
        )
    for row in np.flatnonzero(~np.isfinite(points).all(axis=1)):
        raise InputError(f"candidates must be finite, found {points[row].tolist()} at {row}")
    return points


def _to_unit_range(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each objective from 0 to 1 over the points; 1 where all agree, which prefers none."""
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    unit = np.where(extent > 0, (points - low) / np.where(extent > 0, extent, 1.0), 1.0)
    # So that other units of the same rewards give the same questions to the last bit, and not almost the same.
    return np.asarray(np.round(unit, 9), dtype=np.float64)


def _whole(name: str, value: Any) -> int:
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError:
        raise InputError(f"{name} must be a whole number, found {value!r}") from None


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{name} must be an object, found {value!r}")
    return value
