import dataclasses
import json

import numpy as np
import pytest

from frontier.front import ParetoFront
from frontier.prompt_rewards import PromptRewards, prompt_ids

NAMES = ("helpful", "brief")
MEANS = np.array([(0.0, 1.0), (0.7, 0.7), (1.0, 0.0)])


@pytest.fixture
def fronts(tmp_path):
    """Two folders with fronts on the same prompts, the first a little better."""

    def front(seed, shift):
        easy = np.random.default_rng(99).normal(size=(30, 2))
        own = np.random.default_rng(seed).normal(scale=0.05, size=(3, 30, 2))
        samples = PromptRewards(NAMES, MEANS[:, None] + shift + easy + own, prompt_ids(range(30)))
        return ParetoFront.of_prompt_rewards(samples, [(0, 1), (0.5, 0.5), (1, 0)])

    front(0, 0.1).save(tmp_path / "new" / "front.json")
    front(1, 0.0).save(tmp_path / "old" / "front.json")
    return tmp_path / "new", tmp_path / "old"


@pytest.fixture
def compare(moalign, fronts):
    def call(*more):
        return moalign("compare", *fronts, "--resamples", 400, *more)

    return call


def test_table_verdicts_and_prompts_needed(compare):
    code, out, err = compare()
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("Hypervolume above helpful ")
    assert lines[3].split() == ["new", "old", "new", "-", "old", "p"]
    assert [line.split("  ")[0] for line in lines[4:8]] == ["hypervolume", "EUM", "MIP", "EUM - MIP"]
    assert lines[5].count("[") == 3
    assert "MIP: new is better (p = " in out
    assert "EUM - MIP: not decided between new and old" in out


def test_json_says_the_same(compare, fronts):
    code, out, err = compare("--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    fronts = {path.name: ParetoFront.load(path / "front.json") for path in fronts}
    assert found["fronts"] == ["new", "old"]
    mip = found["figures"]["mip"]
    assert mip["values"] == pytest.approx({label: front.mip() for label, front in fronts.items()})
    assert mip["tests"]["old"]["verdict"] == "new"
    assert mip["tests"]["old"]["difference"]["low"] > 0
    volume = fronts["new"].hypervolume(found["reference_point"]).value
    assert found["figures"]["hypervolume"]["values"]["new"] == pytest.approx(volume)


def test_files_labels_and_further_fronts(moalign, fronts, tmp_path):
    new, old = fronts
    third = ParetoFront.load(old / "front.json").save(tmp_path / "third.json")
    code, out, _ = moalign("compare", new / "front.json", old, "--others", third, "--resamples", 400)
    assert code == 0
    assert out.splitlines()[3].split()[:3] == ["new", "old", "third"]
    _, out, _ = moalign("compare", new, old, "--labels", "tried,known", "--resamples", 400)
    assert "MIP: tried is better" in out


def test_folders_of_one_name_go_by_their_path(moalign, fronts, tmp_path):
    new, old = fronts
    ParetoFront.load(old / "front.json").save(tmp_path / "there" / "new" / "front.json")
    _, out, _ = moalign("compare", new, tmp_path / "there" / "new", "--json", "--resamples", 400)
    assert json.loads(out)["fronts"] == [str(new), str(tmp_path / "there" / "new")]


@pytest.mark.parametrize(
    ("name", "start"), [("both.png", b"\x89PNG"), ("both.svg", b"<?xml"), ("both.html", b"<!doctype html>")]
)
def test_draws_both(compare, tmp_path, name, start):
    code, out, _ = compare("--plot", tmp_path / "pictures" / name)
    assert code == 0
    content = (tmp_path / "pictures" / name).read_bytes()
    assert content[:200].strip().startswith(start)
    assert f"Written: {tmp_path / 'pictures' / name}" in out
    if not name.endswith("png"):
        assert b"new" in content
        assert b"old" in content


def test_fronts_without_samples_get_plain_figures_and_a_note(moalign, front_of_three, fronts):
    bare = dataclasses.replace(ParetoFront.load(front_of_three / "front.json"))
    code, out, _ = moalign("compare", fronts[0], front_of_three, "--resamples", 400)
    assert code == 0
    assert f"{bare.mip():.4f}" in out
    assert "Note: no intervals for measured: its rewards on each prompt were not kept" in out
    assert " is better" not in out


def test_lost_samples_cost_the_intervals_and_no_more(moalign, fronts):
    new, old = fronts
    (new / "front.prompts.safetensors").unlink()
    code, out, err = moalign("compare", new, old, "--resamples", 400)
    assert code == 0
    assert "copy it beside the front (front.prompts.safetensors)" in err
    assert "ParetoFront" not in out + err
    assert "Note: no intervals for new" in out
    assert f"{ParetoFront.load(new / 'front.json', prompt_rewards=False).mip():.4f}" in out


def test_says_when_the_bundle_was_trained_again(moalign, bundle, fronts):
    front = ParetoFront.load(fronts[0] / "front.json")
    front.info["adapters_sha256"] = "of other adapters"
    front.save(bundle / "front.json")
    for place in (bundle, bundle / "front.json"):
        code, _, err = moalign("compare", place, fronts[1], "--resamples", 400)
        assert code == 0
        assert "was measured on other adapters" in err


def test_refuses(refused, fronts, tmp_path):
    new, old = fronts
    assert "is named twice" in refused("compare", new, new / ".." / "new")
    assert "needs OTHER" in refused("compare", new)
    assert "nowhere: no such folder" in refused("compare", new, "nowhere")
    assert "this folder has no measured front yet" in refused("compare", new, tmp_path)
    assert "--labels: found 1 names for 2 fronts" in refused("compare", new, old, "--labels", "a")
    assert "--labels: names must differ" in refused("compare", new, old, "--labels", "a,a")
    assert "expected a file that ends in .html, .png" in refused("compare", new, old, "--plot", "both.doc")
    assert "level must be" in refused("compare", new, old, "--level", 2)
    assert "power must be" in refused("compare", new, old, "--power", 2)
    assert "needs at least 200 resamples, found 10" in refused("compare", new, old, "--resamples", 10)
    scaled = dataclasses.replace(ParetoFront.load(old / "front.json"), normalizer={"scale": [2, 2]})
    scaled.save(old / "front.json")
    message = refused("compare", new, old, "--plot", tmp_path / "both.html")
    assert "the normalisers of new and old differ: one has none, its rewards are raw" in message
    assert not (tmp_path / "both.html").exists()
    scaled.save(new / "front.json")
    (new / "front.prompts.safetensors").write_bytes(b"other")
    assert "front.prompts.safetensors, were altered" in refused("compare", new, old)
