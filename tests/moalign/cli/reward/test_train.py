import json
import random

import pytest

from moalign.cli.reward.train import accuracy_table


@pytest.fixture
def pairs(tmp_path):
    """Pairs in which the better completion is the one with "good" in it, and the shorter one the briefer."""

    def write(name, n, seed):
        draw = random.Random(seed)
        rows = []
        for i in range(n):
            good, bad = f"good {draw.choice('abc')}", f"bad {draw.choice('abc')} {draw.choice('xyz')}"
            first = draw.random() < 0.5
            labels = {"helpful": "a" if first else "b", "brief": ("a" if first else "b") if i % 3 else None}
            rows.append(
                {
                    "prompt": draw.choice("klm"),
                    "completion_a": good if first else bad,
                    "completion_b": bad if first else good,
                    "labels": labels,
                }
            )
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    return write


QUICK = ("--use_cpu", "--per_device_train_batch_size", 16, "--learning_rate", 5e-3, "--logging_steps", 1, "--seed", 1)


def test_trains_and_prints_held_out_accuracy(moalign, tiny_base, pairs, tmp_path):
    from reward_heads import TransformerReward

    out = tmp_path / "runs" / "reward"
    code, text, err = moalign(
        *("reward", "--model", tiny_base, "--train_data", pairs("train.jsonl", 96, 0), "--output_dir", out),
        *("--eval_data", pairs("held_out.jsonl", 30, 1), "--num_train_epochs", 3, *QUICK),
    )
    assert code == 0, err
    assert "On held-out data:" in text
    assert "helpful  accuracy 1.000 ± 0.000 (30 pairs)" in text
    assert "(20 pairs)" in text
    assert "Loading weights" not in err
    reward = TransformerReward.from_pretrained(out)
    assert reward.objectives == ("helpful", "brief")
    scores = reward.score(["k", "k"], ["good a", "bad a x"])
    assert (scores[0] > scores[1]).all()
    settings = json.loads((out / "training_config.json").read_text())
    assert settings["train_data"] == [str(tmp_path / "train.jsonl")]
    assert settings["method"] == "reward_heads"
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["step"] == 1
    assert lines[-1]["eval_accuracy/helpful"] == 1.0


def test_several_files_ratings_and_bad_rows(moalign, tiny_base, pairs, tmp_path):
    from reward_heads import TransformerReward

    first = pairs("first.jsonl", 16, 0)
    first.write_text(first.read_text() + "{broken\n")
    ratings = tmp_path / "ratings.jsonl"
    rows = [{"prompt": "k", "completion": c, "scores": {"warm": i % 5}} for i, c in enumerate("abcdefghij")]
    ratings.write_text("".join(json.dumps(row) + "\n" for row in rows))
    call = [
        "reward",
        "--model",
        tiny_base,
        "--train_data",
        f"{first},{ratings}",
        "--output_dir",
        tmp_path / "r",
        *QUICK,
    ]
    code, text, err = moalign(*call, "--max_steps", 1, "--skip_bad_rows")
    assert code == 0, err
    assert "moalign: warning:" in err
    assert "1 bad rows skipped" in err
    assert "Objectives: helpful, brief, warm. Without --eval_data" in text
    assert TransformerReward.from_pretrained(tmp_path / "r").objectives == ("helpful", "brief", "warm")
    assert len((tmp_path / "first.bad.jsonl").read_text().splitlines()) == 1


def test_the_table_of_accuracies():
    rows = [{"labels": {"a": 1.0, "b": None}}] * 3 + [{"labels": {"a": 0.5}}, {"scores": {"b": 2.0}}]
    text = accuracy_table(["a", "b", "longer"], {"eval_accuracy/a": 2 / 3, "eval_mse/b": 0.25}, rows)
    assert text.splitlines() == [
        "On held-out data:",
        "  a       accuracy 0.667 ± 0.272 (3 pairs)",
        "  b       mean squared error 0.250 (1 ratings, in units of their variance)",
        "  longer  no labels",
    ]


def test_refuses_and_leaves_nothing(refused, tiny_base, pairs, tmp_path):
    good = pairs("train.jsonl", 8, 0)

    def call(*more):
        out = tmp_path / "runs" / "x"
        message = refused("reward", "--model", tiny_base, "--train_data", good, "--output_dir", out, *QUICK, *more)
        assert not (tmp_path / "runs").exists()
        return message

    assert "max_length must be at least 1, found 0" in call("--max_length", 0)
    assert "unknown option '--objective_weight': did you mean '--objective_weights'" in call(
        "--objective_weight", "a=1"
    )
    assert "unknown objective in objective_weights 'helpfull': did you mean 'helpful'" in call(
        "--objective_weights", "helpfull=2"
    )
    assert "objective_weights must map objectives to numbers, found 'helpful'" in call("--objective_weights", "helpful")
    assert "no model folder at ./no/base" in call("--model", "./no/base")
    assert "no/file.jsonl" in call("--train_data", "no/file.jsonl")
    assert "no checkpoint in" in call("--resume_from_checkpoint")
