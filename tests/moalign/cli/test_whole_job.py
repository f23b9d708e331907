"""The whole job from the command line, tiny: reward heads, a steerable policy trained against them, its front, a pick, answers, an export."""

import json
import random

import pytest
from safetensors.torch import load_file

from frontier.front import ParetoFront
from moalign.policy import SteerablePolicy


@pytest.fixture
def files(tmp_path):
    draw = random.Random(0)
    pairs = [
        {
            "prompt": f"{draw.choice('abc')} {draw.choice('xyz')}",
            "completion_a": " ".join(draw.choices("abcdefg", k=draw.randint(1, 6))),
            "completion_b": " ".join(draw.choices("hijklmn", k=draw.randint(1, 6))),
            "labels": {"early": "a", "brief": draw.choice(["a", "b"])},
        }
        for _ in range(48)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    return tmp_path


def test_reward_train_front_pick_generate_export(moalign, files, tiny_base):
    def step(*arguments):
        code, out, err = moalign(*arguments)
        assert code == 0, err
        return out

    pairs, heads, run = files / "pairs.jsonl", files / "runs" / "reward", files / "runs" / "clp"
    quick = ["--use_cpu", "--max_steps", 2, "--per_device_train_batch_size", 8, "--logging_steps", 1]
    out = step(
        "reward", "--model", tiny_base, "--train_data", pairs, "--eval_data", pairs, "--output_dir", heads, *quick
    )
    assert "early" in out
    step(
        *("train", "clp", "--model", tiny_base, "--reward", heads, "--dataset", pairs, "--output_dir", run, *quick),
        *("--max_completion_length", 5, "--normalizer_samples", 16, "--learning_rate", 1e-2),
    )
    out = step(
        "front", run, "--reward", heads, "--dataset", pairs, "--partitions", 2, "--n_prompts", 4, "--max_new_tokens", 5
    )
    front = ParetoFront.load(run / "front.json")
    assert front.table() in out
    assert "Measured front" in (run / "README.md").read_text()
    picked = json.loads(step("pick", run, "--maximize", "early", "--json"))
    assert picked["rewards"]["early"] == max(p.rewards[0] for p in front.points)
    asked = ",".join(f"{name}={weight}" for name, weight in picked["preference"]["weights"].items())
    out = step("generate", run, "--prompt", "a x", "--preference", asked, "--reference", "--max_new_tokens", 4)
    assert out.splitlines()[0] == "> a x"
    step("export", run, "--preference", asked, "--output_dir", files / "lora")
    tensors = load_file(files / "lora" / "adapter_model.safetensors")
    assert any(t.abs().sum() > 0 for name, t in tensors.items() if "lora_B" in name)
    assert SteerablePolicy.from_pretrained(run).objectives == ("early", "brief")
    assert {p.name for p in run.iterdir()} >= {
        *("config.json", "metrics.jsonl", "steer.json", "README.md", "early", "brief"),
        *("front.json", "front.png", "front.html"),
    }
