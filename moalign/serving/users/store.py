"""Keep users' feedback and what was learned from it: transactions, no names, no texts unless asked for."""

import hashlib
import hmac
import json
import secrets
import time
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from frontier.errors import InputError
from moalign.serving.schemas import LONGEST_NAME
from moalign.serving.users.database import Database
from moalign.serving.users.tables import FEEDBACK, USERS

# The latest judgements of a user that are kept; older ones make room.
MOST_FEEDBACK = 300
# Of characters that no name has: controls, halves of characters, what is none, ends of lines. Joiners of scripts and emoji are in none of them.
REFUSED = {"Cc", "Cs", "Cn", "Zl", "Zp"}


@dataclass(frozen=True)
class Judgement:
    """One thing that a user said.

    Args:
        kind (`str`): `"pair"`, `"rating"` or `"preferences"`.
        differences (`Mapping[str, float]`): rewards of the first minus those of the second, by objective, in units of the reward heads.
        label (`float`): the probability that the first is better.
        created (`int`): seconds since 1970.
        texts (`dict`, *optional*): what was judged, where texts are kept.
        id (`int`, *optional*): of the stored row.
    """

    kind: str
    differences: Mapping[str, float]
    label: float
    created: int
    texts: dict[str, Any] | None = None
    id: int | None = None


@dataclass(frozen=True)
class Known:
    """What is stored of a user.

    Args:
        version (`int`): counts changes of the feedback.
        created (`int`): seconds since 1970, of the first judgement.
        updated (`int`): of the last.
        summary (`dict`, *optional*): what was learned, if that is of this version.
    """

    version: int
    created: int
    updated: int
    summary: dict[str, Any] | None


class UserStore:
    """Users of a database. A user is a name that one caller (API key) gave: names of two callers never meet.

    Names are stored as HMAC-SHA256 of caller and name, under a salt in the database and, where there is one, a secret that is kept apart from it. Without that secret, someone who
    holds the database can test guesses of names.

    Args:
        database (`Database`): where.
        secret (`bytes`, *optional*): kept apart from the database. With another one, users of before are not found.
        most (`int`, *optional*, defaults to 300): judgements kept of each user, the latest.
    """

    def __init__(self, database: Database, secret: bytes = b"", most: int = MOST_FEEDBACK) -> None:
        self.database = database
        self._key = hashlib.sha256(database.salt + secret).digest()
        self._most = most

    def add(self, caller: str, user: str, judgement: Judgement) -> None:
        """Keep a judgement.

        Raises:
            InputError: the name is refused.
            UsersUnavailable: it could not be kept.
        """
        key = self._hashed(caller, user)
        with self.database.writing() as connection:
            self._ensure(connection, key, judgement.created)
            # The row is locked until the end, so that two servers keep count together.
            connection.execute(select(USERS.c.key).where(USERS.c.key == key).with_for_update())
            values = {"version": USERS.c.version + 1, "updated": judgement.created}
            connection.execute(update(USERS).where(USERS.c.key == key).values(values))
            row = {
                "user_key": key,
                "created": judgement.created,
                "kind": judgement.kind,
                "differences": json.dumps(dict(judgement.differences), allow_nan=False),
                "label": judgement.label,
                "texts": None if judgement.texts is None else json.dumps(judgement.texts),
            }
            connection.execute(insert(FEEDBACK), row)
            mine = FEEDBACK.c.user_key == key
            last = select(FEEDBACK.c.id).where(mine).order_by(FEEDBACK.c.id.desc()).offset(self._most).limit(1)
            if (oldest := connection.execute(last).scalar()) is not None:
                connection.execute(delete(FEEDBACK).where(mine, FEEDBACK.c.id <= oldest))

    def find(self, caller: str, user: str) -> Known | None:
        """What is known of a user, `None` if nothing.

        Raises:
            InputError: the name is refused.
            UsersUnavailable: the database cannot be read.
        """
        key = self._hashed(caller, user)
        with self.database.reading() as connection:
            return _known(connection, key)

    def history(self, caller: str, user: str) -> tuple[Known, list[Judgement]] | None:
        """What is known of a user with every judgement, the oldest first, as of one moment.

        Raises:
            InputError: the name is refused.
            UsersUnavailable: the database cannot be read.
        """
        key = self._hashed(caller, user)
        with self.database.reading() as connection:
            known = _known(connection, key)
            if known is None:
                return None
            rows = connection.execute(select(FEEDBACK).where(FEEDBACK.c.user_key == key).order_by(FEEDBACK.c.id)).all()
        return known, [
            Judgement(
                row.kind,
                json.loads(row.differences),
                row.label,
                row.created,
                None if row.texts is None else json.loads(row.texts),
                row.id,
            )
            for row in rows
        ]

    def learned(self, caller: str, user: str, version: int, summary: Mapping[str, Any]) -> None:
        """Keep what was learned from the judgements of a version, unless there are newer ones by now.

        Raises:
            InputError: the name is refused.
            UsersUnavailable: it could not be kept.
        """
        of = (USERS.c.key == self._hashed(caller, user), USERS.c.version == version)
        values = {"summary": json.dumps(dict(summary), allow_nan=False), "summary_version": version}
        with self.database.writing() as connection:
            connection.execute(update(USERS).where(*of).values(values))

    def forget(self, caller: str, user: str) -> int | None:
        """Delete all that is stored of a user. Returns how many judgements there were, `None` if the user was not known.

        Raises:
            InputError: the name is refused.
            UsersUnavailable: it could not be deleted.
        """
        key = self._hashed(caller, user)
        with self.database.writing() as connection:
            mine = FEEDBACK.c.user_key == key
            count = connection.execute(select(func.count()).select_from(FEEDBACK).where(mine)).scalar_one()
            connection.execute(delete(FEEDBACK).where(mine))
            known = connection.execute(delete(USERS).where(USERS.c.key == key)).rowcount
        self.database.wipe()
        return int(count) if known else None

    def _hashed(self, caller: str, user: str) -> str:
        check_name(user)
        # As a list: ("ab", "c") and ("a", "bc") are two users. In one form: keyboards write an accent alone or with its letter.
        said = json.dumps([caller, unicodedata.normalize("NFC", user)]).encode()
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()

    def _ensure(self, connection: Connection, key: str, now: int) -> None:
        kind = postgresql if self.database.dialect == "postgresql" else sqlite
        # Not from 0: what was learned of a user who was deleted must not fit one who comes back.
        row = {"key": key, "created": now, "updated": now, "version": secrets.randbits(30)}
        connection.execute(kind.insert(USERS).values(row).on_conflict_do_nothing())


def check_name(user: str) -> str:
    """A user's name, if it is one.

    Raises:
        InputError: it is empty, longer than 256 characters, holds control characters or ends of lines, or is `.` or `..`, which addresses swallow.
    """
    if not user or len(user) > LONGEST_NAME:
        raise InputError(f"a user's name must have 1 to {LONGEST_NAME} characters, found {len(user)}")
    if any(unicodedata.category(character) in REFUSED for character in user):
        raise InputError("a user's name must hold no control characters, ends of lines or characters that are none")
    if user in (".", ".."):
        raise InputError(f"a user's name must not be {user!r}: as a part of an address it would be lost")
    return user


def now() -> int:
    """Seconds since 1970."""
    return int(time.time())


def _known(connection: Connection, key: str) -> Known | None:
    row = connection.execute(select(USERS).where(USERS.c.key == key)).first()
    if row is None:
        return None
    current = row.summary is not None and row.summary_version == row.version
    return Known(row.version, row.created, row.updated, json.loads(row.summary) if current else None)
