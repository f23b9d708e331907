"""One stored loss trajectory of 50 steps: how a batch is cut into steps, processes and forwards is nobody's business but the machine's.

`python tests/moalign/training/test_invariance.py` writes `trajectory.json` anew, which a change of the loss, of the draws or of the data's order must.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from moalign.cli.launch import leave

HERE = Path(__file__).parent
STORED = HERE / "trajectory.json"
# Of each loss: 50 steps of float32 sums in another order leave 1e-6.
TOLERANCE = 1e-5
BATCH, STEPS = 8, 50
LAYOUTS = {
    "batch_8": {},
    "batch_1_accumulate_8": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8},
    "batch_2_accumulate_4": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4},
    "checkpointed": {"gradient_checkpointing": True},
    "prompts_apart": {"share_prompts": False},
    "one_forward": {"split_by_length": False},
    "all_plain": {"share_prompts": False, "split_by_length": False},
    "all_at_once": {
        "gradient_checkpointing": True,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
    },
}


def load_jobs():
    spec = importlib.util.spec_from_file_location("moalign_test_jobs", HERE / "jobs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_base(folder):
    """A Llama of two layers by fixed numbers that no random generator's version changes, and the tests' word-level tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    jobs = load_jobs()
    tokenizer = jobs.word_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = LlamaForCausalLM(config)
    jobs.fill_with_waves((p for p in model.parameters() if p.dim() > 1), 0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def losses(base, folder, processes=1, **changes):
    """The 50 losses of MODPO on three objectives, prompts of very different lengths, a preference per row."""
    jobs = load_jobs()
    layout = {"per_device_train_batch_size": BATCH} | changes
    trainer = jobs.train("trajectory", base, folder, processes, max_steps=STEPS, **layout)
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("invariance") / "base")


@pytest.fixture(scope="module")
def stored():
    return json.loads(STORED.read_text())["loss"]


def assert_stored(found, stored):
    assert len(found) == len(stored) == STEPS
    torch.testing.assert_close(torch.tensor(found), torch.tensor(stored), rtol=0, atol=TOLERANCE)


def test_the_trajectory_is_one_of_learning(stored):
    assert sum(stored[-10:]) < 0.95 * sum(stored[:10])


@pytest.mark.slow  # all of them together
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_on_one_process_match_the_stored_losses(layout, base, stored, tmp_path):
    assert_stored(losses(base, tmp_path, **LAYOUTS[layout]), stored)


@pytest.mark.parametrize("change", [{"seed": 1}, {"learning_rate": 0.0495}, {"min_weight": 0.1}])
def test_another_run_does_not_match(change, base, stored, tmp_path):
    """The tolerance is narrow enough to see other draws, other steps, other rows."""
    other = torch.tensor(losses(base, tmp_path, **change)) - torch.tensor(stored)
    assert other.abs().max() > 20 * TOLERANCE


@pytest.mark.slow
def test_two_processes_match_the_stored_losses(base, stored, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    call = [*command, __file__, str(base), str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, env=env, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    assert_stored(json.loads((tmp_path / "losses.json").read_text()), stored)


if __name__ == "__main__":
    if len(sys.argv) > 1:  # one of several processes
        found = losses(sys.argv[1], sys.argv[2], int(os.environ["WORLD_SIZE"]))
        if os.environ["RANK"] == "0":
            (Path(sys.argv[2]) / "losses.json").write_text(json.dumps(found))
        leave(0)
    else:
        import tempfile

        with tempfile.TemporaryDirectory() as place:
            found = losses(make_base(Path(place) / "base"), Path(place) / "run")
        STORED.write_text(json.dumps({"loss": found}, indent=1) + "\n")
