import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer, GenerationConfig

from benchmarks import stories

ROOT = Path(__file__).resolve().parents[2]
IDS = {
    *("steering.sentiment", "steering.short", "steering.rich"),
    *("hypervolume.steerable", "hypervolume.reference", "hypervolume.soup"),
    *("eum", "mip", "perplexity.ratio"),
}
SUMMARY = {
    "steering": {"sentiment": 0.95, "short": 0.9, "rich": 0.85},
    "hypervolume": {
        "steerable": 2.0,
        "reference": 0.5,
        "soup": 2.5,
        "reference_point": [-1.0, -2.0, 0.25],
        "n_prompts": 8,
    },
    "eum": 1.5,
    "mip": 1.25,
    "controllability_gap": 0.25,
    "soup": {"eum": 1.4, "mip": 1.1, "steering": {}},
    "perplexity": {"ratio": 1.1, "how": "over the reference's own"},
    "seconds_by_stage": {"train": 10.0, "train_soup": 11.0},
}


def by_id(summary=SUMMARY):
    return {row.id: row for row in stories.rows(summary, 240)}


def test_rows_are_those_that_the_issue_names():
    rows = by_id()
    assert set(rows) >= IDS
    assert [rows[f"steering.{n}"].holds for n in ("sentiment", "short", "rich")] == [True, True, False]
    assert rows["steering.rich"].bar == ">= 0.9"
    assert rows["perplexity.ratio"].value == 1.1
    assert (rows["eum"].value, rows["eum"].peer_value, rows["mip"].peer_value) == (1.5, 1.4, 1.1)


def test_the_bar_of_the_steerable_policy_is_the_soup():
    row = by_id()["hypervolume.steerable"]
    assert (row.value, row.bar, row.holds, row.peer_value) == (2.0, ">= 2.5", False, 2.5)
    assert "(-1.00, -2.00, 0.25)" in row.what  # no hypervolume without its reference point
    assert "240 updates" in row.what
    better = by_id(SUMMARY | {"hypervolume": SUMMARY["hypervolume"] | {"steerable": 2.5}})
    assert better["hypervolume.steerable"].holds is True


def test_steering_that_is_not_known_is_a_missed_bar():
    row = by_id(SUMMARY | {"steering": {"short": math.nan}})["steering.short"]
    assert row.holds is False


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("One day.", 2),
        ("The cat saw the Cat. The cat's hat!", 5),  # the, cat, saw, cat's, hat
        ("... !", 0),
    ],
)
def test_distinct_words_by_hand(text, expected):
    assert stories.distinct_words("once", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("He ran. She ran far away.", -3.0),
        ("One two three four", -4.0),
        ("Stop!", -1.0),
        ("", -48.0),
        ("...", -48.0),
    ],
)
def test_short_sentences_by_hand(text, expected):
    assert stories.short_sentences("once", text) == expected


def test_the_reward_has_three_objectives_that_disagree():
    reward = stories.story_reward({"happy": (2.0, 0.5), "sad": (-1.5, 0.5)})
    assert reward.objectives == ("sentiment", "short", "rich")
    scores = reward.score(["x"] * 3, ["Happy. Sad.", "a happy cat sat", ""])
    assert scores.tolist() == [[0.25, -1.0, 2.0], [2.0, -4.0, 4.0], [0.0, -48.0, 0.0]]


def test_prompts_are_the_first_words_once_each():
    words = [f"w{i}" for i in range(20)]
    long = " ".join(words)
    assert stories.story_prompts([long, long + " more", "Once\nupon  a time"]) == [
        " ".join(words[:12]),
        "Once upon a time",
    ]


def test_the_copy_of_the_base_stops_at_both_endings(tiny_base, tmp_path):
    from moalign.loading import load_base

    out = stories.base_model(tiny_base, tmp_path / "base")
    assert GenerationConfig.from_pretrained(out).eos_token_id == [1, 2]
    assert AutoTokenizer.from_pretrained(out).padding_side == "left"
    model = load_base(out)
    assert model.generation_config.eos_token_id == [1, 2]
    assert GenerationConfig.from_pretrained(tiny_base).eos_token_id == 2  # the source stays as it was


def test_says_where_the_data_is_missing(tmp_path):
    with pytest.raises(SystemExit, match=r"loaders\.py is missing: name the folder with the real data with --data"):
        stories.readers(tmp_path)


@pytest.mark.slow
def test_quick_run_writes_every_row(shared_data, tmp_path):
    data = Path(shared_data.__file__).parent
    flags = ["--data", data, "--json", tmp_path / "out.json", "--output_dir", tmp_path / "run"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.stories", "--quick", *map(str, flags)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    content = json.loads((tmp_path / "out.json").read_text(), parse_constant=pytest.fail)
    rows = {row["id"]: row for row in content["rows"]}
    assert set(rows) >= IDS
    assert content["quick"] is True
    assert rows["hypervolume.reference"]["value"] >= 0
    assert 0.2 < rows["perplexity.ratio"]["value"] < 5  # six updates move little
    for name in ("front.json", "front.png", "front.html", "compare.png", "steer.json"):
        assert (tmp_path / "run" / "policy" / name).is_file()
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["objectives"] == ["sentiment", "short", "rich"]
