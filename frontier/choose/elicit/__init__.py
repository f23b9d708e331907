"""Find the point of a front that someone likes best, by asking them to compare two at a time.

The shortest useful program, here with a person who weighs the first objective twice as much as the second:

    >>> from frontier.choose.elicit import Elicitation
    >>> candidates = [[0.0, 1.0], [0.5, 0.9], [0.8, 0.7], [1.0, 0.2]]
    >>> talk = Elicitation(candidates)
    >>> while (question := talk.question()) is not None:
    ...     a, b = candidates[question.a], candidates[question.b]
    ...     talk.answer(question, "a" if 2 * a[0] + a[1] > 2 * b[0] + b[1] else "b")
    >>> talk.choice().index
    2

Answers may be wrong or "cant_tell"; `to_json` and `from_json` carry a conversation on elsewhere.
"""

from frontier.choose.elicit.answers import ANSWERS, Answer, AnswerModel
from frontier.choose.elicit.elicitation import Answered, Choice, Elicitation, Settings
from frontier.choose.elicit.posterior import Posterior
from frontier.choose.elicit.questions import Question

__all__ = [
    "ANSWERS",
    "Answer",
    "AnswerModel",
    "Answered",
    "Choice",
    "Elicitation",
    "Posterior",
    "Question",
    "Settings",
]
