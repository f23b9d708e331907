import json
import random

import pytest


@pytest.fixture
def pairs(tmp_path):
    """Pairs in which six users like the text with "good" in it and three the other one."""

    def write(name, n=270, seed=0, **more):
        draw = random.Random(seed)
        rows = []
        for i in range(n):
            good, bad = f" good {draw.choice('abc')}", f" bad {draw.choice('abc')}"
            first = draw.random() < 0.5
            likes_good = i % 9 < 6
            rows.append(
                {
                    "prompt": draw.choice("klm"),
                    "completion_a": good if first else bad,
                    "completion_b": bad if first else good,
                    "labels": {"liked": "a" if first == likes_good else "b"} | more,
                    "user": f"u{i % 9}",
                }
            )
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    return write


QUICK = ("--device", "cpu", "--learning_rate", 1e-2, "--num_epochs", 2, "--rounds", 2, "--max_groups", 3)


def test_finds_groups_and_writes_a_reward_folder(moalign, tiny_base, pairs, tmp_path):
    from reward_heads import TransformerReward
    from reward_heads.users import UserGroups

    out = tmp_path / "runs" / "groups"
    call = ("groups", "--model", tiny_base, "--train_data", pairs("train.jsonl"), "--output_dir", out, *QUICK)
    code, text, err = moalign(*call)
    assert code == 0, err
    assert "group1  0.667      6  1.000 ± 0.000 (36 pairs)" in text
    assert "group2  0.333      3  1.000 ± 0.000 (18 pairs)" in text
    chosen = [line for line in text.splitlines() if line.endswith("<- chosen")]
    assert [line.split()[0] for line in chosen] == ["2"]
    assert f"moalign train maxmin --model BASE --reward {out}" in text
    assert "Loading weights" not in err
    reward = TransformerReward.from_pretrained(out)
    assert reward.objectives == ("group1", "group2")
    scores = reward.score(["k", "k"], [" good a", " bad a"])
    assert scores[0, 0] > scores[1, 0]
    assert scores[0, 1] < scores[1, 1]
    assert UserGroups.load(out).assign("u8") == "group2"
    settings = json.loads((out / "training_config.json").read_text())
    assert settings["train_data"] == [str(tmp_path / "train.jsonl")]
    assert settings["assignment"] == "soft"
    assert moalign(*call)[0] == 2  # the folder is in use now


def test_help(moalign):
    code, text, _ = moalign("groups", "--help")
    assert code == 0
    for option in ("--train_data", "--max_groups", "--assignment", "--objective", "--trainable"):
        assert option in text


def test_refuses_and_leaves_nothing(refused, tiny_base, pairs, tmp_path):
    good = pairs("train.jsonl", 36)

    def call(*more):
        out = tmp_path / "runs" / "x"
        message = refused("groups", "--model", tiny_base, "--train_data", good, "--output_dir", out, *QUICK, *more)
        assert not (tmp_path / "runs").exists()
        return message

    assert "did you mean 'soft'" in call("--assignment", "sof")
    assert "max_groups is 10, but only 9 users have labelled pairs" in call("--max_groups", 10)
    assert "unknown objective 'like': did you mean 'liked'" in call("--objective", "like")
    two = call("--train_data", pairs("two.jsonl", 18, warm="a"))
    assert "liked, warm: say which objective tells what users prefer, as in --objective liked" in two
    assert "no model folder at ./no/base" in call("--model", "./no/base")
    nobody = tmp_path / "nobody.jsonl"
    rows = [json.loads(line) | {"user": None} for line in good.read_text().splitlines()]
    nobody.write_text("".join(json.dumps(row) + "\n" for row in rows))
    message = refused("groups", "--model", tiny_base, "--train_data", nobody, "--output_dir", tmp_path / "y", *QUICK)
    assert "no pair has both a user and a label" in message
