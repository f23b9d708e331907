"""With two processes: a signal to one, or a disk that is full for one, stops both at the same step, and rows are named whichever process had them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moalign.training.runs.checkpoints import why_not_whole

SCRIPT = """
import errno, json, os, signal, sys
from pathlib import Path

sys.path.insert(0, sys.argv[3])
from safe_runs import direct
from transformers import TrainerCallback
from moalign.cli.launch import leave
from moalign.training.runs.stopping import RunStopped, RunTerminated

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

trainer = direct(base, folder, max_steps=3, per_device_train_batch_size=2)
write = trainer._save_rng_state
def full(output_dir):
    if rank == 1:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{output_dir}/rng_state_1.pth")
    write(output_dir)
trainer._save_rng_state = full
try:
    trainer.train(resume_from_checkpoint=True)
except RunStopped as error:
    found["full"] = [error.step, str(error)]
(folder / f"found-{rank}.json").write_text(json.dumps(found))
leave(0)
"""


@pytest.mark.slow
def test_processes_stop_together(tiny_base, tmp_path):
    script, out = tmp_path / "script.py", tmp_path / "run"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    done = subprocess.run(
        [*command, str(tiny_base), str(out), str(Path(__file__).parent)],
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    first, second = (json.loads((out / f"found-{rank}.json").read_text()) for rank in range(2))
    assert first["terminated"] == second["terminated"] == [2, str(out / "checkpoint-2"), 143]
    assert why_not_whole(out / "checkpoint-2") is None
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {path.name for path in (out / "checkpoint-2").iterdir()}
    assert first["stopped"] == second["stopped"]
    assert first["stopped"][0] == 3
    assert first["stopped"][1] == second["prompts"] != first["prompts"]
    assert not (out / "checkpoint-3").exists()
    assert first["full"] == second["full"]
    assert first["full"][0] == 3
    assert f".checkpoint-3.saving{os.sep}checkpoint-3{os.sep}rng_state_1.pth could not be written" in first["full"][1]
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
