"""The thread that runs the batch: admits rows, steps, and starts anew when it dies."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

from moalign.serving.batch import FAILED, RunningBatch
from moalign.serving.request import EngineStopped, QueueFull
from moalign.serving.row import Row

logger = logging.getLogger(__name__)

# After so many failed steps in a row the batch itself is taken to be broken.
FAILURES_IN_A_ROW = 3


class WorkerKilled(BaseException):
    """Raised in the worker's thread by `Worker.kill`."""


class Worker:
    """Runs rows in a thread of its own.

    A step that raises fails its rows, and the worker goes on. When the thread itself dies, or step after step fails, the rows in the batch fail,
    and a new thread with a new batch takes over the rows that wait: `max_restarts` times within `restart_window` seconds, then never again.

    Args:
        make_batch (`Callable`): a new batch; called at once, and in the new thread after each death.
        max_batch_size (`int`): rows in the batch.
        max_waiting (`int`): rows in the queue.
        max_total_tokens (`int`): rows in the batch x longest of them, at most.
        max_restarts (`int`): within the window.
        restart_window (`float`): seconds.
        restart_delay (`float`): seconds between a death and the new thread, for what broke to settle and for health checks to see it.
    """

    def __init__(
        self,
        make_batch: Callable[[], RunningBatch],
        *,
        max_batch_size: int,
        max_waiting: int,
        max_total_tokens: int,
        max_restarts: int,
        restart_window: float,
        restart_delay: float,
    ) -> None:
        self._make_batch = make_batch
        self.max_batch_size = max_batch_size
        self.max_waiting = max_waiting
        self.max_total_tokens = max_total_tokens
        self.max_restarts = max_restarts
        self.restart_window = restart_window
        self.restart_delay = restart_delay
        self.batch = make_batch()
        self.waiting: deque[Row] = deque()
        self.changed = threading.Condition()
        self.state: Literal["running", "restarting", "stopped"] = "running"
        self.draining = False
        self.aborting = False
        self.steps = 0
        self.tokens = 0
        self.accepted = 0
        self.restarts = 0
        self._idle = True
        self._killed = False
        self._failures = 0
        self._deaths: deque[float] = deque()
        self._thread = self._started()

    # ---- from other threads

    @property
    def ready(self) -> bool:
        """Takes work."""
        return self.state == "running" and self._thread.is_alive() and not self.draining

    @property
    def stopped(self) -> bool:
        """Has died too often and takes no work any more, though nobody asked it to stop."""
        return self.state == "stopped" and not self.draining

    def submit(self, rows: Sequence[Row]) -> None:
        """Queue rows, all or none.

        Raises:
            QueueFull: there is no room.
            EngineStopped: it takes no work.
        """
        with self.changed:
            if not self.ready:
                raise EngineStopped(self._why_not())
            self._forget_cancelled()
            if len(self.waiting) + len(rows) > self.max_waiting:
                raise QueueFull(f"{len(self.waiting)} answers wait already and {self.max_waiting} may (max_waiting)")
            self.waiting.extend(rows)
            self.accepted += len(rows)
            self._idle = False
            self.changed.notify_all()

    def kill(self) -> None:
        """Make the thread die before its next step, as a test of what happens then."""
        with self.changed:
            self._killed = True
            self.changed.notify_all()

    def close(self, drain_seconds: float) -> None:
        """Take no more work, give what was accepted this long to finish, fail the rest, and end the thread."""
        with self.changed:
            self.draining = True
            self.changed.wait_for(lambda: self._idle or self.state == "stopped", timeout=drain_seconds)
            self.aborting = True
            self.changed.notify_all()
        while (thread := self._thread).is_alive():  # a dying thread may have started another one meanwhile
            thread.join()

    def _why_not(self) -> str:
        if self.draining:
            return "the server is shutting down"
        return (
            "the engine is starting again after a failure" if self.state == "restarting" else "the engine has stopped"
        )

    # ---- the thread

    def _started(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="moalign-engine", daemon=True)
        thread.start()
        return thread

    def _run(self) -> None:
        try:
            if self.state == "restarting":
                self.batch = self._make_batch()
                with self.changed:
                    self.state = "running"
            self._work()
        except BaseException as error:
            # Whatever it is, nobody may wait for ever.
            logger.critical("the engine's thread died", exc_info=error)
            self._die()
        else:
            self._end("the server stopped before the answer was finished")

    def _work(self) -> None:
        while True:
            with self.changed:
                self._forget_cancelled()
                self._idle = not self.waiting and not self.batch.rows
                self.changed.notify_all()
                self.changed.wait_for(lambda: self.waiting or self.batch.rows or self.aborting or self._killed)
                if self._killed:
                    self._killed = False
                    raise WorkerKilled
                if self.aborting:
                    return
                self._expire()
                self.batch.leave()
                self.batch.join(self._admit())
            if self.batch.prefilling:
                self._attempt(self.batch.prefill, self.batch.prefilling)
            if self.batch.decoding:
                self._attempt(self.batch.decode, self.batch.decoding)
                self.steps += 1

    def _admit(self) -> list[Row]:
        """The rows that join now: in order of arrival, as many as fit even if all grow to their maximum; the first that does not fit holds back the others, so none starves."""
        joining: list[Row] = []
        running = self.batch.rows
        longest = max((row.request.max_length for row in running), default=0)
        while self.waiting:
            count = len(running) + len(joining) + 1
            longest = max(longest, self.waiting[0].request.max_length)
            if count > self.max_batch_size or count * longest > self.max_total_tokens:
                break
            joining.append(self.waiting.popleft())
        return joining

    def _expire(self) -> None:
        now = time.monotonic()
        for row in (*self.batch.rows, *self.waiting):
            if row.deadline <= now and not row.over:
                row.expire()
        self._forget_cancelled()

    def _forget_cancelled(self) -> None:
        if any(row.over for row in self.waiting):
            self.waiting = deque(row for row in self.waiting if not row.over)

    def _attempt(self, work: Callable[[], None], rows: Sequence[Row]) -> None:
        """Do one step for these rows; if it raises they fail, and the worker goes on."""
        before = sum(row.generated for row in rows)
        try:
            work()
            self._failures = 0
        except Exception:
            logger.exception("a step of %d rows failed", len(rows))
            for row in rows:
                row.fail(FAILED)
            self._failures += 1
            if self._failures >= FAILURES_IN_A_ROW:
                raise
            self.batch.leave()
        finally:
            self.tokens += sum(row.generated for row in rows) - before

    # ---- dying

    def _die(self) -> None:
        """Fail the rows in the batch, and let a new thread take over those that wait, unless this has happened too often."""
        now = time.monotonic()
        with self.changed:
            self.state = "restarting"
            self._failures = 0
            self._fail(self.batch.rows, FAILED)
            self.batch.clear()  # in the thread that opened its contexts
            self._deaths.append(now)
            while self._deaths and self._deaths[0] <= now - self.restart_window:
                self._deaths.popleft()
            hopeless = len(self._deaths) > self.max_restarts
            if not hopeless:
                self.changed.notify_all()
                self.changed.wait_for(lambda: self.aborting, timeout=self.restart_delay)
            if not hopeless and not self.aborting:
                self.restarts += 1
                self._thread = self._started()
                return
        if hopeless:
            logger.critical(
                "the engine's thread died %d times within %g seconds: it stays stopped",
                len(self._deaths),
                self.restart_window,
            )
        self._end("the server stopped before the answer was finished")

    def _end(self, message: str) -> None:
        with self.changed:
            self.state = "stopped"
            self._fail([*self.batch.rows, *self.waiting], message)
            self.waiting.clear()
            self.batch.clear()
            self._idle = True
            self.changed.notify_all()

    @staticmethod
    def _fail(rows: Sequence[Row], message: str) -> None:
        for row in rows:
            if not row.over:
                row.fail(message)
