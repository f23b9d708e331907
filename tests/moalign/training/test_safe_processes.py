"""With two processes: a signal to one stops both at the same step, and rows are named whichever process had them."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from moalign.training.checkpoints import why_not_whole

SCRIPT = """
import json, os, signal, sys
from pathlib import Path

sys.path.insert(0, sys.argv[3])
from safe_runs import direct
from transformers import TrainerCallback
from moalign.training.stopping import RunStopped, RunTerminated

base, folder, rank = sys.argv[1], Path(sys.argv[2]), int(os.environ["RANK"])
found = {}

class Term(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if rank == 1 and state.global_step == 1:
            os.kill(os.getpid(), signal.SIGTERM)

try:
    direct(base, folder, callbacks=[Term()], save_strategy="no", per_device_train_batch_size=2).train()
except RunTerminated as error:
    found["terminated"] = [error.step, str(error.checkpoint), error.code]

trainer = direct(base, folder, max_steps=4, per_device_train_batch_size=2)
real = trainer.compute_loss
def compute_loss(model, inputs, *args, **kwargs):
    loss = real(model, inputs, *args, **kwargs)
    if trainer.state.global_step == 2:
        found["prompts"] = list(inputs["prompt"])
        return loss * float("nan") if rank == 1 else loss
    return loss
trainer.compute_loss = compute_loss
try:
    trainer.train(resume_from_checkpoint=True)
except RunStopped as error:
    found["stopped"] = [error.step, [trainer.train_dataset.prompts[row] for row in error.rows]]
(folder / f"found-{rank}.json").write_text(json.dumps(found))
"""


@pytest.mark.slow
def test_processes_stop_together(tiny_base, tmp_path):
    script, out = tmp_path / "script.py", tmp_path / "run"
    script.write_text(SCRIPT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    here = str(Path(__file__).parent)
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(tiny_base), str(out), here],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)[-4000:]
    first, second = (json.loads((out / f"found-{rank}.json").read_text()) for rank in range(2))
    assert first["terminated"] == second["terminated"] == [2, str(out / "checkpoint-2"), 143]
    assert why_not_whole(out / "checkpoint-2") is None
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {path.name for path in (out / "checkpoint-2").iterdir()}
    assert first["stopped"] == second["stopped"]
    assert first["stopped"][0] == 3
    assert first["stopped"][1] == second["prompts"] != first["prompts"]
    assert not (out / "checkpoint-3").exists()
