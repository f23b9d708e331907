import json
import random

import pytest

QUICK = ("--hidden", "16", "--steps", 60, "--batch_size", 64, "--check_every", 10)


@pytest.fixture
def pairs(tmp_path):
    """For prompts with "k" the long completion is better, for the others the one with "good"."""
    draw = random.Random(0)
    rows = []
    for i in range(200):
        prompt = f"{'k' if i % 2 else 'l'} {draw.choice('abcdef')} {draw.choice('abcdef')} {draw.choice('abcdef')}"
        a, b = "good a", "bad a b c d e f"
        rows.append({"prompt": prompt, "completion_a": a, "completion_b": b, "labels": {"better": float(i % 2 == 0)}})
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "pairs.jsonl"


@pytest.fixture
def reward_of_two(tmp_path):
    (tmp_path / "two.py").write_text(
        "from reward_heads import FunctionReward\n"
        "reward = FunctionReward({'helpful': lambda p, c: float('good' in c), 'long': lambda p, c: float(len(c.split()))})\n"
    )
    return f"{tmp_path / 'two.py'}:reward"


@pytest.mark.parametrize("learn_from", ["pairs", "responses"])
def test_learns_saves_and_reports(moalign, tiny_base, pairs, reward_of_two, tmp_path, learn_from):
    from reward_heads.gating import Gate

    out = tmp_path / "gate"
    code, text, err = moalign(
        "reward", "gate", "--reward", reward_of_two, "--model", tiny_base, "--train_data", pairs, "--output_dir", out,
        "--learn_from", learn_from, *QUICK,
    )  # fmt: skip
    assert code == 0, err
    assert "constant" in text
    gate = Gate.from_pretrained(out)
    weights = gate.weights(["k a b c", "l a b c"])
    assert weights.sum(dim=1).tolist() == pytest.approx([1.0, 1.0])
    assert weights[0, 1] > weights[1, 1]  # length counts more where the prompt says k


def test_refuses_and_leaves_nothing(refused, tiny_base, pairs, reward_of_two, tmp_path):
    call = ("reward", "gate", "--reward", reward_of_two, "--model", tiny_base, "--train_data", pairs)
    call = (*call, "--output_dir", tmp_path / "new" / "gate", *QUICK)
    assert "did you mean 'better'" in refused(*call, "--label", "beter")
    assert "did you mean 'pairs'" in refused(*call, "--learn_from", "pair")
    assert not (tmp_path / "new").exists()
