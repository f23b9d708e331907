import json
from dataclasses import asdict

import pytest

from frontier.errors import InputError
from frontier.front import ParetoFront
from moalign.demo.pipeline import DemoConfig, _clear, run_demo
from moalign.policy import SteerablePolicy
from moalign.training.runs.folder import write_config
from reward_heads import TransformerReward

# ---- making room


@pytest.fixture
def earlier(tmp_path):
    """What an earlier demo left."""
    out = tmp_path / "demo"
    write_config(out, asdict(DemoConfig(output_dir=str(out))))
    for name in ("language_model", "reward", "policy", "soup"):
        (out / name).mkdir()
        (out / name / "model.safetensors").write_text("weights")
    for name in ("summary.json", "front.json", "front.png", "front.html", "pairs.jsonl"):
        (out / name).write_text("{}")
    return out


def everything(folder):
    return sorted(p.relative_to(folder) for p in folder.rglob("*"))


def test_an_earlier_demo_is_replaced(earlier):
    _clear(earlier, overwrite=True)
    assert everything(earlier) == []


def test_an_earlier_demo_stays_when_it_must_not_be_replaced(earlier):
    before = everything(earlier)
    with pytest.raises(InputError, match="holds an earlier demo: name another folder with --output_dir"):
        _clear(earlier, overwrite=False)
    assert everything(earlier) == before


def test_foreign_files_are_named_and_nothing_is_deleted(earlier):
    (earlier / "thesis.txt").write_text("years of work")
    (earlier / "exported").mkdir()
    before = everything(earlier)
    with pytest.raises(InputError, match=r"holds exported, thesis\.txt, which no demo made"):
        _clear(earlier, overwrite=True)
    assert everything(earlier) == before


@pytest.mark.parametrize("config", [None, {"model": "BASE", "beta": 0.05}, "no json", "[1]"])
def test_runs_of_other_commands_under_the_same_names_are_foreign(tmp_path, config):
    """`moalign reward --output_dir runs/reward` and `moalign train clp --output_dir runs/policy`, then a demo into `runs`."""
    for name in ("reward", "policy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_text("weights")
    if config is not None:
        (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    before = everything(tmp_path)
    with pytest.raises(InputError, match="policy, reward, which no demo made"):
        _clear(tmp_path, overwrite=True)
    assert everything(tmp_path) == before


def test_a_linked_folder_loses_its_link_only(earlier, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    (earlier / "policy").rename(elsewhere)
    (earlier / "policy").symlink_to(elsewhere)
    _clear(earlier, overwrite=True)
    assert (elsewhere / "model.safetensors").read_text() == "weights"
    assert everything(earlier) == []


def test_missing_and_empty_folders_are_fine(tmp_path):
    _clear(tmp_path / "new", overwrite=False)
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    _clear(tmp_path / "empty", overwrite=False)


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(InputError, match="is a file, expected a folder"):
        run_demo(DemoConfig(output_dir=str(tmp_path / "demo")))
    assert (tmp_path / "demo").read_text() == "mine"


def test_refuses_before_any_work(earlier):
    (earlier / "notes").write_text("mine")
    with pytest.raises(InputError, match="notes"):
        run_demo(DemoConfig(output_dir=str(earlier), quick=True))


# ---- the whole demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "run"
    return out, run_demo(DemoConfig(output_dir=str(out), quick=True, compare=True))


@pytest.mark.slow
def test_the_whole_demo(demo, capsys):
    """The keys that a reader of `summary.json` relies on, on a run too short for its figures to mean anything."""
    out, found = demo
    summary = json.loads((out / "summary.json").read_text(), parse_constant=pytest.fail)
    assert set(summary) == set(found)
    objectives = summary["objectives"]
    assert objectives == ["helpful", "warm", "brief"]
    assert summary["seconds"] > 0
    assert set(summary["seconds_by_stage"]) == {"language_model", "reward", "train", "front", "train_soup"}
    assert sum(summary["seconds_by_stage"].values()) <= summary["seconds"]

    assert list(summary["reward_accuracy"]) == objectives
    for row in summary["reward_accuracy"].values():
        assert 0 < row["accuracy"] <= 1
        assert 0.5 <= row["attainable"] <= 1
        assert row["ratio"] == pytest.approx(row["accuracy"] / row["attainable"])
        assert 0 < row["n"] <= 80

    assert list(summary["steering"]) == objectives
    assert all(value is None or -1 <= value <= 1 for value in summary["steering"].values())
    volume = summary["hypervolume"]
    assert {"steerable", "reference", "soup", "reference_point"} <= set(volume)
    assert all(volume[name] > 0 for name in ("steerable", "reference", "soup"))
    assert len(volume["reference_point"]) == 3
    assert summary["eum"] - summary["mip"] == pytest.approx(summary["controllability_gap"])
    assert set(summary["soup"]) == {"eum", "mip", "steering"}
    assert {"steering", "hypervolume", "eum", "mip", "controllability_gap"} <= set(summary["learned"])

    perplexity = summary["perplexity"]
    assert perplexity["ratio"] == pytest.approx(perplexity["steered_mean"] / perplexity["reference"])
    assert perplexity["how"]
    assert set(perplexity["well_formed_sentences"]) == {s["preference"] for s in summary["samples"]}
    assert all(0 <= share <= 1 for share in perplexity["well_formed_sentences"].values())
    assert len(summary["samples"]) == 6
    assert len({s["prompt"] for s in summary["samples"]}) == 1
    assert len(summary["picks"]) == 3

    # What lies in the folder.
    assert json.loads((out / "config.json").read_text())["quick"] is True
    front = ParetoFront.load(out / "front.json")
    assert len(front.points) == 6
    assert front.reference_policy.source == "reference"
    assert len(front.points[0].extra["rewards/true"]) == 3
    for folder in (out, out / "policy"):
        assert (folder / "front.png").read_bytes()[:4] == b"\x89PNG"
        assert "<!doctype html>" in (folder / "front.html").read_text()[:200]
    for name in ("compare.png", "compare.html"):
        assert (out / name).read_bytes() == (out / "policy" / name).read_bytes()
    assert "## Measured front" in (out / "policy" / "README.md").read_text()
    assert all(json.loads(line) for line in (out / "policy" / "metrics.jsonl").read_text().splitlines())

    # Every stage's result can be loaded and used.
    policy = SteerablePolicy.from_pretrained(out / "policy")
    prompt = summary["samples"][0]["prompt"]
    again = policy.generate([prompt], "warm=1.0", max_new_tokens=40, do_sample=False)[0]
    assert again.strip() == next(s["completion"] for s in summary["samples"] if s["preference"] == "warm=1.0")
    assert SteerablePolicy.from_pretrained(out / "soup").objectives == tuple(objectives)
    reward = TransformerReward.from_pretrained(str(out / "reward"))
    assert reward.score([prompt], [again]).shape == (1, 3)

    # A second demo may replace it; other runs' folders may not.
    with pytest.raises(InputError, match="holds an earlier demo"):
        run_demo(DemoConfig(output_dir=str(out), overwrite=False))
    assert (out / "summary.json").is_file()
    _clear(out, overwrite=True)
    assert everything(out) == []
