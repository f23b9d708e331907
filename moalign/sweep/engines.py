"""Where jobs run: processes on this machine, one a device."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from frontier.errors import InputError
from moalign.sweep.folder import JobFolder


class Running(Protocol):
    """A job that was handed to an engine."""

    def started(self) -> bool:
        """Whether it runs already, and does not wait for a place."""

    def code(self) -> int | None:
        """The exit code of its process, negative for the signal that ended it; `None` while there is none."""

    def stop(self) -> None:
        """Ask it to save and end."""

    def kill(self) -> None:
        """End it now."""


class Engine(Protocol):
    """Something that runs jobs."""

    def room(self) -> bool:
        """Whether it takes another job now."""

    def start(self, folder: JobFolder) -> Running:
        """Run the job of a folder."""

    def close(self) -> None:
        """Give back what the engine holds."""


def child_command(folder: JobFolder) -> list[str]:
    """What runs a job."""
    return [sys.executable, "-m", "moalign.sweep.child", str(folder.path)]


def start_child(folder: JobFolder, environment: dict[str, str], cwd: str | None = None) -> "subprocess.Popen[bytes]":
    """The process of a job, whose words go to the log of its folder.

    In a session of its own: Ctrl-C in a terminal reaches the sweep alone, which then asks its jobs to save.
    """
    with folder.log.open("ab") as log:
        return subprocess.Popen(
            child_command(folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=cwd,
            start_new_session=True,
        )


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill a job's process with all that it started."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:  # it ended between the two lines
            return
        process.wait()


class LocalEngine:
    """Processes on this machine, one job at a time on each device.

    Args:
        devices (`Sequence[str]`, *optional*): such as `["cuda:0", "cuda:1"]`; `["cpu", "cpu"]` runs two at a time. Default: one job at a time, on the first device
            that this process sees.

    Raises:
        InputError: a name that is no device.
    """

    def __init__(self, devices: Sequence[str] | None = None) -> None:
        names = list(devices) if devices else [_first_device()]
        self._free = [_environment(name) for name in names]
        if len(names) > 1 and "OMP_NUM_THREADS" not in os.environ:
            # Each would take all cores, and threads that wait for each other's are many times slower.
            threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // len(names)))}
            self._free = [own | threads for own in self._free]

    def room(self) -> bool:
        """Whether a device is free."""
        return bool(self._free)

    def start(self, folder: JobFolder) -> "LocalProcess":
        """Run the job on a free device."""
        device = self._free.pop(0)
        try:
            return LocalProcess(start_child(folder, os.environ | device), self._free, device)
        except BaseException:
            self._free.append(device)
            raise

    def close(self) -> None:
        """Nothing is held between jobs."""


class LocalProcess:
    """A job in a process of this machine; its device is free again when it ends."""

    def __init__(self, process: "subprocess.Popen[bytes]", free: list[dict[str, str]], device: dict[str, str]) -> None:
        self._process, self._free = process, free
        self._device: dict[str, str] | None = device

    def started(self) -> bool:
        """From the beginning."""
        return True

    def code(self) -> int | None:
        """Of the process."""
        code = self._process.poll()
        if code is not None and self._device is not None:
            self._free.append(self._device)
            self._device = None
        return code

    def stop(self) -> None:
        """SIGTERM: the run saves at its next step."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, to all that it started too."""
        end_group(self._process)


def _first_device() -> str:
    import torch

    # A run that sees several GPUs would want a process for each of them.
    return "cuda:0" if torch.cuda.device_count() > 1 else ""


def _environment(device: str) -> dict[str, str]:
    """What makes a process see this device alone."""
    if device == "":
        return {}
    if device == "cpu":
        return {"CUDA_VISIBLE_DEVICES": ""}
    match = re.fullmatch(r"cuda:(\d+)", device)
    if match is None:
        raise InputError(f"devices: found '{device}', expected cpu or cuda:0, cuda:1, ...")
    number = int(match[1])
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if seen is None:
        import torch

        if number >= (count := torch.cuda.device_count()):  # its job would quietly train on the CPU
            raise InputError(f"devices: there is no {device}: this machine has {count} GPUs")
        return {"CUDA_VISIBLE_DEVICES": str(number)}
    # Numbers count what this process itself sees.
    names = [name.strip() for name in seen.split(",") if name.strip()]
    if number >= len(names):
        raise InputError(f"devices: there is no {device}: CUDA_VISIBLE_DEVICES is '{seen}'")
    return {"CUDA_VISIBLE_DEVICES": names[number]}


def same_folder(folder: JobFolder) -> JobFolder:
    """The folder by its absolute path, as another process knows it."""
    return JobFolder(Path(folder.path).absolute())
