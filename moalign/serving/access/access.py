"""Know callers by their keys, by a policy file that may change while the server runs."""

import logging
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from frontier.errors import InputError
from moalign.serving.access.caller import ANYONE, Caller
from moalign.serving.access.keys import MOST_BYTES, hash_key, same_hash
from moalign.serving.access.policy_file import AccessPolicy, read_policy
from moalign.serving.access.usage import Usage

logger = logging.getLogger(__name__)


class Access:
    """Who may use a server. For one event loop.

    A changed file counts from the next request on. One that can't be read any more changes nothing: the last good one holds, and the log says so.

    Args:
        path (`str` or `Path`, *optional*): the policy file; without one, everybody may do everything.

    Raises:
        InputError: the file is wrong.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self._objectives: tuple[str, ...] | None = None
        self._usage: defaultdict[str, Usage] = defaultdict(Usage)
        self._stamp = self._stamp_now()
        self._policy: AccessPolicy | None = None if self.path is None else read_policy(self.path)

    @property
    def open(self) -> bool:
        """Whether no key is needed."""
        return self._policy is None

    def check_objectives(self, objectives: Sequence[str]) -> None:
        """Tell which objectives exist, once they are known.

        Raises:
            InputError: the policy has a range for another one.
        """
        self._objectives = tuple(objectives)
        if self._policy is not None:
            self._policy.check_objectives(self._objectives)

    def caller(self, key: bytes | None) -> Caller | None:
        """Who holds this key; `None` if nobody does."""
        if self._policy is None:
            return ANYONE
        self._read_again()
        if key is None or len(key) > MOST_BYTES:
            return None
        digest = hash_key(key, self._policy.salt)
        found = None
        # All are compared, so that the time tells nothing about which one it was.
        for known, caller in self._policy.callers.items():
            if same_hash(known, digest):
                found = caller
        return found

    def usage(self, caller: Caller) -> Usage:
        """What this caller has used so far."""
        return self._usage[caller.name]

    def _stamp_now(self) -> tuple[int, int, int] | None:
        if self.path is None:
            return None
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _read_again(self) -> None:
        stamp = self._stamp_now()
        if stamp == self._stamp or self.path is None:
            return
        self._stamp = stamp
        try:
            policy = read_policy(self.path)
            if self._objectives is not None:
                policy.check_objectives(self._objectives)
        except InputError as error:
            logger.error("the policy file changed and cannot be used, the last good one still holds: %s", error)
            return
        self._policy = policy
        logger.info("the policy file changed: %d keys", len(policy.callers))
