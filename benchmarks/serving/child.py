"""A server in a process of its own: `python -m benchmarks.serving.child FOLDER KIND` prints where it listens."""

import os
import socket
import sys
from pathlib import Path

import torch
import uvicorn

from benchmarks.serving.models import policy, quiet
from moalign.serving.api import create_app

ROWS = 32


def main(folder: Path, kind: str) -> None:
    """Serve until the process is ended."""
    quiet()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    app = create_app(policy(folder, kind), model_name="served", max_batch_size=ROWS)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # Otherwise Nagle's algorithm holds whatever follows the headers until the client acknowledges them, 40 ms later.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print(f"http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listening])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
