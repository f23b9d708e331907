import json
import random

import pytest

from reward_heads.saved import load_reward


@pytest.fixture
def ratings(tmp_path):
    def write(name, n=40, seed=0):
        draw = random.Random(seed)
        rows = []
        for i in range(n):
            text = "".join(draw.choice("ab") + " " for _ in range(draw.randint(1, 8)))
            scores = {"helpful": text.count("a") / len(text.split()), "brief": -float(len(text.split()))}
            rows.append({"prompt": f"p{i % 9}", "completion": text, "scores": scores})
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    return write


def test_fits_saves_and_says_how_well(moalign, tiny_base, ratings, tmp_path):
    out = tmp_path / "probe"
    code, text, err = moalign(
        "reward", "probe", "--model", tiny_base, "--train_data", ratings("train.jsonl", 120), "--eval_data",
        ratings("test.jsonl", 40, 1), "--output_dir", out, "--embedding_cache", tmp_path / "cache",
    )  # fmt: skip
    assert code == 0, err
    assert "held-out loss" in text
    assert "within prompt" in text
    reward = load_reward(out)
    assert reward.objectives == ("helpful", "brief")
    scores = reward.score(["p", "p"], ["a a ", "a a a a a a a "])
    assert scores[0, 1] > scores[1, 1]
    assert json.loads((out / "training_config.json").read_text())["method"] == "probe"
    assert list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--pooling", "maen"), "did you mean 'mean'"),
        (("--layer", 9), "layer"),
        (("--model", "./nowhere"), "./nowhere"),
        (("--objectives", "helpfull"), "helpfull"),
    ],
)
def test_refuses_and_leaves_nothing(refused, tiny_base, ratings, tmp_path, more, message):
    options = {"--model": tiny_base, "--train_data": ratings("t.jsonl"), "--output_dir": tmp_path / "new" / "p"}
    options |= dict([more])
    assert message in refused("reward", "probe", *(x for pair in options.items() for x in pair))
    assert not (tmp_path / "new").exists()
