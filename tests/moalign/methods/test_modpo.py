import json

import pytest
import torch
from datasets import Dataset

from moalign.bundle import read_manifest
from moalign.cli import main
from moalign.methods.modpo import MODPOConfig, MODPOTrainer
from moalign.oracle import OracleWorld
from moalign.policy import SteerablePolicy
from moalign.training.implicit_reward import ImplicitReward

REWARD = """
from reward_heads import FunctionReward

reward = FunctionReward(
    {"helpful": lambda p, c: float(c.split().count("a")), "brief": lambda p, c: -float(len(c.split()))}
)
"""
ANSWERS = [" a b", " c", " a a d e", " f g h"]


def settings(folder, **changes):
    defaults = {
        "output_dir": str(folder),
        "max_steps": 100,
        "per_device_train_batch_size": 64,
        "learning_rate": 5e-3,
        "lr_scheduler_type": "cosine",
        "beta": 1.0,
        "lora_r": 8,
        "lora_alpha": 16,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "precompute_ref_batch_size": 512,
    }
    return MODPOConfig(**{**defaults, **changes})


@pytest.fixture(scope="module")
def world():
    return OracleWorld.covered(vocabulary=3, length=2, prompts=2, objectives=("helpful", "brief"))


@pytest.fixture(scope="module")
def base(world, tmp_path_factory):
    return world.save(tmp_path_factory.mktemp("world") / "base")


@pytest.fixture(scope="module")
def pairs(world):
    return Dataset.from_list(world.sample_pairs(2000, probabilities=True))


def test_one_run_comes_near_the_optimum_of_every_preference(world, base, pairs, tmp_path):
    trainer = MODPOTrainer(base, world.reward, settings(tmp_path), pairs)
    trainer.train()
    trainer.model.eval()
    gains = [world.gain(trainer.policy, f"helpful={w},brief={1 - w}", 1.0) for w in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert min(gains) > 0.9
    assert trainer.policy.training["method"] == "modpo"
    assert trainer.policy.training["paper"].endswith("2310.03708")
    assert trainer.policy.training["margin_scale"]["value"] == pytest.approx({"helpful": 1, "brief": 1}, abs=1e-3)


def test_one_model_for_one_preference_with_implicit_rewards_as_the_paper_does(world, base, pairs, tmp_path):
    """DPO on the second objective, its implicit reward as the margin of the first: nothing knows the true rewards but the labels."""
    other = Dataset.from_list([{**row, "labels": {"brief": row["labels"]["brief"]}} for row in pairs])
    dpo = MODPOTrainer(base, None, settings(tmp_path / "dpo", max_steps=60), other)
    dpo.train()
    dpo.save_model()
    margin = ImplicitReward.from_pretrained(tmp_path / "dpo", batch_size=512)
    assert margin.objectives == ("brief",)
    own = Dataset.from_list([{**row, "labels": {"helpful": row["labels"]["helpful"]}} for row in pairs])
    preference = "helpful=0.6,brief=0.4"
    options = {"conditioning": "none", "preference": preference, "margin_scale": "none", "max_steps": 60}
    config = settings(tmp_path / "modpo", **options)
    trainer = MODPOTrainer(base, margin, config, own)
    trainer.train()
    trainer.model.eval()
    assert trainer.objectives == ("brief", "helpful")
    log_probs = world.policy_distribution(trainer.policy, preference)
    assert world.gain(log_probs, preference, 1.0) > 0.9
    assert world.gain(log_probs, "brief=1.0", 1.0) < 0.8  # not merely one of the two


def test_the_command_trains_a_bundle(tiny_base, tmp_path, capsys):
    (tmp_path / "letters.py").write_text(REWARD)
    rows = [
        {"prompt": p, "completion_a": a, "completion_b": b, "labels": {"helpful": 0.75 if a > b else 0.25, "brief": None if i % 2 else 0.6}}
        for i, (p, a, b) in enumerate((p, a, b) for p in "xyz" for a in ANSWERS for b in ANSWERS if a != b)
    ]  # fmt: skip
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code = main(
        [
            *("train", "modpo", "--model", str(tiny_base), "--reward", f"{tmp_path / 'letters.py'}:reward"),
            *("--dataset", str(tmp_path / "pairs.jsonl"), "--eval_dataset", str(tmp_path / "pairs.jsonl")),
            *("--output_dir", str(tmp_path / "out"), "--max_steps", "2", "--logging_steps", "1", "--use_cpu"),
            *("--margin_scale", "helpful=1,brief=0.5", "--lora_r", "2", "--eval_strategy", "epoch"),
        ]
    )
    assert code == 0, capsys.readouterr().err
    manifest = read_manifest(tmp_path / "out")
    assert manifest.objectives == ("helpful", "brief")
    assert manifest.training["margin_scale"] == {"value": {"helpful": 1.0, "brief": 0.5}, "standard_error": {}}
    policy = SteerablePolicy.from_pretrained(tmp_path / "out")
    assert torch.isfinite(policy.log_probs(["x"], [" a b"], "helpful=0.2,brief=0.8")).all()
    lines = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["margin_scale/brief"] == 0.5
    assert any(line.get("labels/brief", 1) < 1 for line in lines)
