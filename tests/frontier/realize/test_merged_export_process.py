"""What only a process of its own shows: the peak of its memory, and what it leaves when it is killed."""

import json
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from frontier.realize.lora_folder import LoraFolder
from frontier.realize.merged_export import export_merged_checkpoint
from frontier.realize.merging.checkpoint import Checkpoint


def export(base, adapters, weights, out):
    folders = [LoraFolder.read(path) for path in adapters]
    return export_merged_checkpoint(Checkpoint(base), folders, weights, out, progress=False)


# ---- memory

BIG = """
    from pathlib import Path
    from frontier.realize.lora_folder import LoraFolder
    from frontier.realize.merging.checkpoint import Checkpoint
    from frontier.realize.merged_export import export_merged_checkpoint

    base, adapters = Checkpoint("{base}"), ["{a}", "{b}"]
    # Not getrusage: its peak is inherited from the process that started this one.
    peak = lambda: next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
    before = peak()
    folders = [LoraFolder.read(path) for path in adapters]
    export_merged_checkpoint(base, folders, [0.7, -0.3], "{out}", progress=False, workers=2, max_shard_size=100_000_000)
    print(peak() - before)
"""


def write_big(root, layers=16, width=1024):
    """A model of 200 MB without the memory for it, and two adapters of rank 16 on every matrix."""
    from frontier.realize.merging.output import ModelWriter
    from frontier.realize.merging.tensor_files import Layout

    base = root / "base"
    base.mkdir(parents=True)
    layouts = {
        f"model.layers.{i}.{name}.weight": Layout((width * n, width), torch.float32)
        for i in range(layers)
        for name, n in (("self_attn.q_proj", 1), ("mlp.up_proj", 2))
    }
    writer = ModelWriter(base, layouts, 120_000_000)
    for name, layout in layouts.items():
        writer.write(name, 0, torch.randn(layout.shape))
    writer.finish()
    (base / "config.json").write_text(json.dumps({"architectures": ["X"], "model_type": "x"}))
    for adapter in ("a", "b"):
        (root / adapter).mkdir()
        tensors = {}
        for name, layout in layouts.items():
            path = f"base_model.model.{name.removesuffix('.weight')}"
            tensors[f"{path}.lora_A.weight"] = torch.randn(16, layout.shape[1])
            tensors[f"{path}.lora_B.weight"] = torch.randn(layout.shape[0], 16)
        save_file(tensors, root / adapter / "adapter_model.safetensors")
        (root / adapter / "adapter_config.json").write_text(
            json.dumps({"peft_type": "LORA", "r": 16, "lora_alpha": 16})
        )
    return sum(layout.nbytes for layout in layouts.values())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc")
def test_memory_holds_pieces_and_no_model(tmp_path):
    size = write_big(tmp_path)
    assert size > 200_000_000
    code = BIG.format(base=tmp_path / "base", a=tmp_path / "a", b=tmp_path / "b", out=tmp_path / "out")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    grown = int(done.stdout.split()[-1])
    adapters = sum((tmp_path / name / "adapter_model.safetensors").stat().st_size for name in "ab")
    # One layer is 12 MB. A copy of the model would be 200 MB.
    assert grown < adapters + 80_000_000, f"{grown / 1e6:.0f} MB for a model of {size / 1e6:.0f} MB"
    shutil.rmtree(tmp_path / "base")
    shutil.rmtree(tmp_path / "out")


# ---- failures

# Pieces are not computed before the signal is on its way.
SLOW = """
    import pathlib, time
    from frontier.realize.lora_folder import LoraFolder
    from frontier.realize.merging import compute, merge
    from frontier.realize.merging.checkpoint import Checkpoint
    from frontier.realize.merged_export import export_merged_checkpoint

    def stuck(*args, **options):
        open("{started}", "w").close()
        while not pathlib.Path("{go}").exists():
            time.sleep(0.01)
        return real(*args, **options)

    real, compute.merge_piece = compute.merge_piece, stuck
    if "{what}" == "export":
        export_merged_checkpoint(Checkpoint("{base}"), [LoraFolder.read("{adapter}")], [0.5], "{out}", progress=False)
    else:
        models = [{{"model": "{base}+{adapter}", "parameters": {{"weight": 0.5}}}}, {{"model": "{base}", "parameters": {{"weight": 0.5}}}}]
        merge({{"merge_method": "linear", "models": models}}, "{out}", progress=False, overwrite=True)
"""


@pytest.mark.parametrize("earlier", [False, True], ids=["new", "over an earlier one"])
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
@pytest.mark.parametrize("what", ["export", "merge"])
def test_killed_in_the_middle_nothing_is_half_written(tiny_base, plain_adapters, tmp_path, what, sign, earlier):
    adapter = plain_adapters["helpful"]
    out, started, go = tmp_path / "results" / "out", tmp_path / "started", tmp_path / "go"
    out.parent.mkdir()
    if earlier:
        export(tiny_base, [adapter], [1.0], out)
        before = load_file(out / "model.safetensors")
    code = SLOW.format(what=what, started=started, go=go, base=tiny_base, adapter=adapter, out=out)
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.PIPE)
    while not started.exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(sign)
    go.touch()
    process.communicate(timeout=120)
    assert process.returncode != 0
    if sign == signal.SIGTERM:  # SIGKILL leaves no time to clear the hidden folder beside the result
        assert [path.name for path in out.parent.iterdir()] == (["out"] if earlier else [])
    if earlier:
        after = load_file(out / "model.safetensors")
        assert all(torch.equal(before[name], after[name]) for name in before)
        assert AutoModelForCausalLM.from_pretrained(out)
    else:
        assert not out.exists()
        export(tiny_base, [adapter], [1.0], out)  # what is left does not stand in the way
        assert AutoModelForCausalLM.from_pretrained(out)
