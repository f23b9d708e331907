"""Start servers, wait until they answer, read how much memory they have, and end them."""

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

PATIENCE = 120.0


@dataclass(frozen=True)
class Server:
    """One that answers.

    Args:
        url (`str`): without a path.
        model (`str`): what requests call it.
        process (`int`): its id.
    """

    url: str
    model: str
    process: int

    def resident_bytes(self) -> int | None:
        """Its memory; `None` where the system does not tell in /proc."""
        status = Path(f"/proc/{self.process}/status")
        if not status.exists():
            return None
        found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text())
        return int(found[1]) * 1024 if found else None


@contextmanager
def moalign_server(folder: Path, kind: str) -> Iterator[Server]:
    """Moalign's engine and API over `all`, `qv` or `base`, see `models.policy`."""
    command = [sys.executable, "-m", "benchmarks.serving.child", str(folder), kind]
    with _process(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        _wait_for(process, f"{url}/health/ready")
        yield Server(url, "served", process.pid)


@contextmanager
def transformers_server(folder: Path, options: Sequence[str] = ()) -> Iterator[Server]:
    """`transformers serve` over the base model alone."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    model = str(folder / "base")
    program = str(Path(sys.executable).with_name("transformers"))
    command = [program, "serve", model, "--host", "127.0.0.1", "--port", str(port), *options]
    with _process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        _wait_for(process, f"{url}/health")
        yield Server(url, model, process.pid)


@contextmanager
def _process(command: Sequence[str], **pipes: int) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _wait_for(process: "subprocess.Popen[str]", url: str) -> None:
    """Until the answer is 200."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode} before it answered")
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass  # it does not listen yet
        time.sleep(0.1)
    raise RuntimeError(f"the server did not answer within {PATIENCE:g} seconds")
