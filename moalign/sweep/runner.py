"""Bring every job to its end: start what there is room for, start again what died, and go on when one fails for good."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from types import FrameType
from typing import Any

from moalign.sweep.engines import Engine, Running
from moalign.sweep.folder import JobFolder
from moalign.sweep.jobs import Job

# A run that is asked to end finishes its step and saves; after this many seconds it is ended.
GRACE = 120.0
LOOK_EVERY = 0.2
# The exit code of a wrong input, which no repetition mends.
REFUSED = 2


class Interrupted(Exception):
    """The sweep was asked to end by a signal, and all its jobs have.

    Args:
        signum (`int`): of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(signum).name}")
        self.signum = signum


@dataclass
class Outcome:
    """How far a job is, and how it got there.

    Args:
        job (`Job`): the job.
        folder (`JobFolder`): its folder.
        state (`str`): waiting, running, done, kept (it was done before) or failed.
        codes (`list[int]`): how each attempt ended: an exit code, or the negative number of the signal.
        error (`str`): the last words of the last attempt that failed.
        seconds (`float`): all attempts together.
    """

    job: Job
    folder: JobFolder
    state: str = "waiting"
    codes: list[int] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0
    _since: float | None = None

    @property
    def retries(self) -> int:
        """How often it was started again."""
        return max(0, len(self.codes) - 1) if self.state != "running" else len(self.codes)

    def elapsed(self) -> float:
        """Seconds of all attempts, the present one included."""
        return self.seconds + (monotonic() - self._since if self._since is not None else 0.0)

    def begin(self) -> None:
        """An attempt has begun."""
        if self.state != "running":
            self.state, self._since = "running", monotonic()

    def end(self, code: int) -> None:
        """An attempt is over."""
        self.seconds, self._since = self.elapsed(), None
        self.codes.append(code)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "name": self.job.name,
            "label": self.job.label,
            "method": self.job.method,
            "axes": self.job.axes,
            "state": self.state,
            "attempts": self.codes,
            "error": self.error,
            "seconds": round(self.seconds, 3),
        }


def run_jobs(
    outcomes: Sequence[Outcome],
    engine: Engine,
    *,
    retries: int = 1,
    watch: Callable[[Sequence[Outcome]], None] | None = None,
    grace: float = GRACE,
) -> None:
    """Run all jobs that wait; returns when each is done or has failed for good.

    A job whose process ends without a result is started again, `retries` times, and goes on from its checkpoint; not where its input was refused.

    Args:
        outcomes (`Sequence[Outcome]`): changed in place.
        engine (`Engine`): runs them.
        retries (`int`, *optional*, defaults to 1): per job.
        watch (`Callable`, *optional*): called with the outcomes, again and again.
        grace (`float`, *optional*): seconds that jobs have to save when the sweep is asked to end.

    Raises:
        Interrupted: SIGINT or SIGTERM came, and the jobs were ended. Run again to go on.
    """
    waiting = [outcome for outcome in outcomes if outcome.state == "waiting"]
    running: list[tuple[Outcome, Running]] = []
    with _signals() as came:
        try:
            while (waiting or running) and not came:
                waiting = _start(waiting, running, engine)
                for outcome, process in list(running):
                    code = process.code()
                    if code is None:
                        if process.started():
                            outcome.begin()
                        continue
                    running.remove((outcome, process))
                    if _settle(outcome, code, retries):
                        waiting.insert(0, outcome)
                if watch is not None:
                    watch(outcomes)
                if waiting or running:
                    time.sleep(LOOK_EVERY)
        finally:
            _end([process for _, process in running], came, grace)
        if came:
            raise Interrupted(came[0])


def _start(waiting: list[Outcome], running: list[tuple[Outcome, Running]], engine: Engine) -> list[Outcome]:
    """Start jobs while there is room; those that still wait."""
    for i, outcome in enumerate(waiting):
        if not engine.room():
            return waiting[i:]
        outcome.folder.begin_attempt(len(outcome.codes) + 1)
        running.append((outcome, engine.start(outcome.folder)))
    return []


def _settle(outcome: Outcome, code: int, retries: int) -> bool:
    """Note how an attempt ended; whether there is another."""
    outcome.begin()
    outcome.end(code)
    if code == 0:
        outcome.state = "done"
        return False
    outcome.error = f"{how_it_ended(code)}: {outcome.folder.last_words() or 'it said nothing'}"
    again = code != REFUSED and len(outcome.codes) <= retries
    outcome.state = "waiting" if again else "failed"
    return again


def how_it_ended(code: int) -> str:
    """An exit code in words.

    Example:
        >>> how_it_ended(2), how_it_ended(-9), how_it_ended(1)
        ('refused', 'ended by SIGKILL', 'exit code 1')
    """
    if code == REFUSED:
        return "refused"
    if code < 0:
        known = -code in set(signal.Signals)
        return f"ended by {signal.Signals(-code).name if known else f'signal {-code}'}"
    return f"exit code {code}"


def _end(running: Sequence[Running], came: Sequence[int], grace: float) -> None:
    """Ask all to save and end, and end those that don't."""
    for process in running:
        process.stop()
    until = monotonic() + grace
    # A second signal means: now.
    while any(p.code() is None for p in running) and monotonic() < until and len(came) < 2:
        time.sleep(LOOK_EVERY)
    for process in running:
        if process.code() is None:
            process.kill()


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Inside, SIGINT and SIGTERM are added to the list instead of what they usually do; they belong to the main thread alone."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return

    def note(signum: int, frame: FrameType | None) -> None:
        came.append(signum)

    before = {signum: signal.signal(signum, note) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
