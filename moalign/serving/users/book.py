"""What a server knows of its users: takes feedback in, answers with a preference, shows and deletes what it holds of anyone."""

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

from moalign.preference import Preference
from moalign.serving.users.database import UsersUnavailable
from moalign.serving.users.store import Judgement, Known, UserStore, check_name
from moalign.serving.users.taste import Learner, Taste

logger = logging.getLogger(__name__)

# After a failure, completions do without the database for so long.
REST_SECONDS = 5.0


class UserBook:
    """Users of one policy. Safe to use from several threads and, on one database, from several servers.

    What was learned is a function of the judgements alone, whoever computes it and in whatever order servers write; it is stored beside them so that a completion only reads a row.

    Args:
        store (`UserStore`): where judgements are kept.
        learner (`Learner`): what makes weights of them.
        kind (`str`, *optional*, defaults to `"weights"`): what the policy is steered by, `"weights"` or `"direction"`.
        keep_texts (`bool`, *optional*, defaults to `False`): whether judged texts are stored; otherwise only differences of rewards.
    """

    def __init__(self, store: UserStore, learner: Learner, kind: str = "weights", keep_texts: bool = False) -> None:
        self.store = store
        self.learner = learner
        self.kind = kind
        self.keep_texts = keep_texts
        self._rests_until = -math.inf

    def taste(self, caller: str, user: str) -> Taste | None:
        """What is known of a user, `None` before any judgement.

        Raises:
            InputError: the name is refused.
            UsersUnavailable: the database cannot be read.
        """
        known = self.store.find(caller, user)
        if known is None:
            return None
        return self.learner.read(known.summary) or self._learn(caller, user)

    def preference(self, caller: str, user: str) -> Preference | None:
        """What to steer by for a user; `None` before any judgement, and where the database cannot be read, since an answer must not wait for it.

        Raises:
            InputError: the name is refused.
        """
        check_name(user)
        if time.monotonic() < self._rests_until:
            return None
        try:
            found = self.taste(caller, user)
        except UsersUnavailable:
            # Waiting for a database that is gone would hold up every answer.
            self._rests_until = time.monotonic() + REST_SECONDS
            logger.warning("users' preferences can't be read: for %g seconds, answers are made without", REST_SECONDS)
            return None
        return None if found is None or not found.n else found.preference(self.kind)

    def record(self, caller: str, user: str, judgement: Judgement) -> Taste:
        """Keep a judgement, and learn from it.

        Raises:
            InputError: the name is refused.
            UsersUnavailable: it could not be kept.
        """
        self.store.add(caller, user, judgement)
        found = self._learn(caller, user)
        return self.learner.learn([]) if found is None else found  # deleted in the meantime

    def export(self, caller: str, user: str) -> dict[str, Any] | None:
        """Everything that is stored of a user, and what was learned from it; `None` if nothing is.

        Raises:
            InputError: the name is refused.
            UsersUnavailable: the database cannot be read.
        """
        found = self.store.history(caller, user)
        if found is None:
            return None
        known, judgements = found
        taste = self.learner.read(known.summary) or self.learner.learn(judgements)
        return {
            **document(user, taste, self.kind),
            "object": "user",
            "created": known.created,
            "updated": known.updated,
            "stored": stored(judgements),
            "feedback": [_exported(judgement) for judgement in judgements],
        }

    def forget(self, caller: str, user: str) -> int | None:
        """Delete all of a user. Returns how many judgements there were, `None` if nothing is stored.

        Raises:
            InputError: the name is refused.
            UsersUnavailable: it could not be deleted.
        """
        return self.store.forget(caller, user)

    def close(self) -> None:
        """Let go of the database."""
        self.store.database.close()

    def _learn(self, caller: str, user: str) -> Taste | None:
        found: tuple[Known, list[Judgement]] | None = self.store.history(caller, user)
        if found is None:
            return None
        known, judgements = found
        kept = self.learner.read(known.summary)
        if kept is not None:
            return kept
        taste = self.learner.learn(judgements)
        try:
            self.store.learned(caller, user, known.version, self.learner.summary(taste))
        except UsersUnavailable:
            logger.warning("what was learned of a user could not be kept; it will be learned again")
        return taste


def document(user: str, taste: Taste, kind: str) -> dict[str, Any]:
    """What is known of a user, as a response tells it.

    Args:
        user (`str`): the name that the client gave.
        taste (`Taste`): what is known.
        kind (`str`): what the policy is steered by.
    """
    return {
        "object": "user.preference",
        "user": user,
        "preference": taste.preference(kind).to_json(),
        "weights": taste.to_json(),
        "level": taste.level,
        "judgements": taste.n,
        "temperature": taste.temperature,
    }


def stored(judgements: Sequence[Judgement]) -> str:
    """What kind of data is held, in a sentence."""
    if any(judgement.texts is not None for judgement in judgements):
        return "differences of rewards, and the texts that were judged; the name only as a keyed hash"
    return "differences of rewards, no text; the name only as a keyed hash"


def _exported(judgement: Judgement) -> dict[str, Any]:
    shown = {
        "id": judgement.id,
        "created": judgement.created,
        "kind": judgement.kind,
        "differences": dict(judgement.differences),
        "label": judgement.label,
    }
    return shown if judgement.texts is None else shown | {"texts": judgement.texts}
