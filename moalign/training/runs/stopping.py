"""Why a run ended before its last step: a cause that a person has to look at, or a signal that asked it to stop."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

_GO_ON = "go on with resume_from_checkpoint=True (moalign train: --resume_from_checkpoint true)"


class RunStopped(RuntimeError):
    """Training cannot go on (a loss that is not finite, a full disk); what was saved before is whole. The command line prints the message and exits with 1.

    Args:
        cause (`str`): what happened, at which step, and what to do.
        step (`int`): the step that was under way, or saved; the first is 1.
        rows (`tuple[int, ...]`, *optional*): numbers of the rows of the training data that were in the batch.
        checkpoint (`Path`, *optional*): the last whole checkpoint.
    """

    def __init__(self, cause: str, step: int, rows: tuple[int, ...] = (), checkpoint: Path | None = None) -> None:
        kept = f"{checkpoint} is whole: {_GO_ON}" if checkpoint is not None else "No checkpoint was saved before"
        super().__init__(f"{cause}. {kept}")
        self.cause, self.step, self.rows, self.checkpoint = cause, step, rows, checkpoint

    def __reduce__(self) -> tuple[Any, ...]:
        """Exceptions are copied by their message alone; other processes are to have all of it."""
        return type(self), (self.cause, self.step, self.rows, self.checkpoint)


class RunTerminated(SystemExit):
    """SIGTERM came: the step under way was finished and saved. A script that does not catch it ends with exit code 143, as it would have without the save.

    Args:
        step (`int`): the step that was saved.
        checkpoint (`Path`): where.
    """

    def __init__(self, step: int, checkpoint: Path) -> None:
        super().__init__(128 + signal.SIGTERM)
        self.step, self.checkpoint = step, checkpoint

    def __str__(self) -> str:
        return f"terminated after step {self.step}, saved in {self.checkpoint}: {_GO_ON}"


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C came: the step under way was finished and saved. The second Ctrl-C does not wait for that.

    Args:
        step (`int`): the step that was saved.
        checkpoint (`Path`): where.
    """

    def __init__(self, step: int, checkpoint: Path) -> None:
        super().__init__(f"interrupted after step {step}, saved in {checkpoint}: {_GO_ON}")
        self.step, self.checkpoint = step, checkpoint


class StopSignals:
    """Within the block SIGTERM and the first Ctrl-C are only remembered, so that the step under way can be finished and saved.

    Signals that something else already handles (a scheduler's worker, a server) are left to it, and threads other than the main one cannot take any.
    """

    numbers = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.caught: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        self.caught = None
        ours: dict[signal.Signals, Callable[..., Any] | signal.Handlers] = {
            signal.SIGTERM: signal.SIG_DFL,
            signal.SIGINT: signal.default_int_handler,
        }
        if threading.current_thread() is threading.main_thread():
            for number, usual in ours.items():
                if signal.getsignal(number) == usual:
                    self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.caught is not None:
            raise KeyboardInterrupt
        self.caught = signal.Signals(number)


def stopped_by(caught: int, step: int, checkpoint: Path) -> RunTerminated | RunInterrupted:
    """The exception that says which signal stopped a run."""
    return (RunTerminated if caught == signal.SIGTERM else RunInterrupted)(step, checkpoint)
