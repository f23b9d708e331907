"""Files of fronts: exact, and never beside the wrong samples, whatever is interrupted."""

import contextlib
import dataclasses
import json
import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from frontier import FrontPoint, InputError, ParetoFront
from frontier.prompt_rewards import PromptRewards

NAMES = ("helpful", "brief")


def front_of(seed, points=3, prompts=5):
    values = np.random.default_rng(seed).normal(size=(points + 1, prompts, 2))
    values[0, 0, 1] = math.nan
    samples = PromptRewards(NAMES, values[1:], tuple(f"p{j}" for j in range(prompts)), values[0])
    return ParetoFront.of_prompt_rewards(samples, [{"helpful": 1.0}] * points, info={"seed": seed})


@pytest.fixture
def front():
    return front_of(0)


def names_in(folder):
    return sorted(p.name for p in folder.iterdir())


def test_samples_stand_beside_the_json(front, tmp_path):
    path = front.save(tmp_path / "new" / "front.json")
    assert names_in(path.parent) == ["front.json", "front.prompts.safetensors"]
    back = ParetoFront.load(path)
    assert back == front
    assert back.prompt_rewards.rewards.tobytes() == front.prompt_rewards.rewards.tobytes()
    document = json.loads(path.read_text())
    assert document["schema_version"] == 2
    assert document["prompt_rewards"]["file"] == "front.prompts.safetensors"


@settings(deadline=None, max_examples=25)
@given(arrays.arrays(np.float64, (2, 3, 2), elements=st.floats(-1e100, 1e100)))
def test_everything_comes_back_bit_for_bit(tmp_path_factory, values):
    samples = PromptRewards(NAMES, values / 3, ("a", "b", "c"), values[0] / 7)
    front = ParetoFront.of_prompt_rewards(samples)
    back = ParetoFront.load(front.save(tmp_path_factory.mktemp("front") / "f.json"))
    assert back.prompt_rewards.rewards.tobytes() == front.prompt_rewards.rewards.tobytes()
    assert back.prompt_rewards.reference.tobytes() == front.prompt_rewards.reference.tobytes()
    assert back.rewards.tobytes() == front.rewards.tobytes()
    assert back.standard_errors.tobytes() == front.standard_errors.tobytes()


def test_without_samples_no_file(front, tmp_path):
    bare = dataclasses.replace(front, prompt_rewards=None)
    assert ParetoFront.load(bare.save(tmp_path / "front.json")) == bare
    assert names_in(tmp_path) == ["front.json"]


def test_saving_again_replaces_both(front, tmp_path):
    path = front.save(tmp_path / "front.json")
    other = front_of(1)
    other.save(path)
    assert ParetoFront.load(path) == other
    assert names_in(tmp_path) == ["front.json", "front.prompts.safetensors"]
    dataclasses.replace(other, prompt_rewards=None).save(path)
    assert names_in(tmp_path) == ["front.json"]  # no samples of a front that is gone


def test_fronts_beside_each_other_leave_each_other_alone(front, tmp_path):
    other = front_of(1)
    front.save(tmp_path / "front.json")
    other.save(tmp_path / "front-[b].v2.json")
    front.save(tmp_path / "front.json")
    assert ParetoFront.load(tmp_path / "front-[b].v2.json") == other
    assert ParetoFront.load(tmp_path / "front.json") == front
    assert "front-[b].v2.prompts.safetensors" in names_in(tmp_path)


@pytest.mark.parametrize(
    "pair", [("run.v1", "run.v2"), ("front", "front.json"), ("run.v1", "run.v1.json"), ("run.v1.json", "run.v2.json")]
)
def test_names_that_resemble_each_other_have_samples_of_their_own(front, tmp_path, pair):
    other = front_of(1)
    for order in (pair, pair[::-1]):
        fronts = dict(zip(order, (front, other), strict=True))
        for name, each in fronts.items():
            each.save(tmp_path / name)
        assert {name: ParetoFront.load(tmp_path / name) for name in order} == fronts
    dataclasses.replace(front, prompt_rewards=None).save(tmp_path / pair[0])
    assert ParetoFront.load(tmp_path / pair[1]).prompt_rewards is not None


def rename(folder, old, new):
    for suffix in (".json", ".prompts.safetensors"):
        (folder / (old + suffix)).rename(folder / (new + suffix))


def test_both_files_may_be_renamed_together(front, tmp_path):
    front.save(tmp_path / "front.json")
    rename(tmp_path, "front", "before")
    assert ParetoFront.load(tmp_path / "before.json") == front
    other = front_of(1)
    other.save(tmp_path / "front.json")  # what the old JSON names is now another front's
    assert ParetoFront.load(tmp_path / "before.json") == front
    assert ParetoFront.load(tmp_path / "front.json") == other
    (tmp_path / "before.prompts.safetensors").unlink()
    with pytest.raises(InputError, match=r"before\.json: .*were altered or belong to another front"):
        ParetoFront.load(tmp_path / "before.json")


class Crash(BaseException):
    pass


@pytest.mark.parametrize("step", range(1, 8))
@pytest.mark.parametrize("old", ["none", "bare", "samples"])
@pytest.mark.parametrize("new", ["bare", "samples"])
def test_a_crash_at_any_step_leaves_a_front_with_its_own_samples(tmp_path, monkeypatch, step, old, new):
    """Every rename and every removal in turn fails for good; what is on disk then must be the old front or the new one, whole."""
    path = tmp_path / "front.json"
    before, after = front_of(0), front_of(1)
    if old == "bare":
        before = dataclasses.replace(before, prompt_rewards=None)
    if new == "bare":
        after = dataclasses.replace(after, prompt_rewards=None)
    if old != "none":
        before.save(path)
    calls = []

    def dying(real):
        def call(*arguments, **options):
            calls.append(real)
            if len(calls) >= step:
                raise Crash
            return real(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", dying(os.replace))
        patch.setattr(os, "unlink", dying(os.unlink))
        with contextlib.suppress(Crash):
            after.save(path)
    if path.exists():
        assert ParetoFront.load(path) in ([before, after] if old != "none" else [after])
    else:
        assert old == "none"
    after.save(path)  # and the next save clears up
    assert ParetoFront.load(path) == after
    left = [name for name in names_in(tmp_path) if name.endswith(".safetensors")]
    assert left == ([] if new == "bare" else ["front.prompts.safetensors"])


def test_missing_samples_are_refused_by_name(front, tmp_path):
    path = front.save(tmp_path / "front.json")
    (tmp_path / "front.prompts.safetensors").unlink()
    with pytest.raises(InputError, match=r"front\.json: .*front\.prompts\.safetensors, are missing: copy them"):
        ParetoFront.load(path)
    bare = ParetoFront.load(path, prompt_rewards=False)
    assert bare == dataclasses.replace(front, prompt_rewards=None)


def test_altered_samples_are_refused_by_name(front, tmp_path):
    path = front.save(tmp_path / "front.json")
    samples = tmp_path / "front.prompts.safetensors"
    content = bytearray(samples.read_bytes())
    content[-1] ^= 1
    samples.write_bytes(content)
    with pytest.raises(InputError, match=r"front\.prompts\.safetensors, were altered or belong to another front"):
        ParetoFront.load(path)


def test_samples_of_another_front_are_refused(front, tmp_path):
    """The digest is right, but the means are not those of the points."""
    path = front.save(tmp_path / "front.json")
    other = front_of(1).save(tmp_path / "other.json")
    documents = [json.loads(p.read_text()) for p in (path, other)]
    documents[0]["prompt_rewards"] = documents[1]["prompt_rewards"]
    path.write_text(json.dumps(documents[0]))
    with pytest.raises(
        InputError, match=r"prompt_rewards belong to other points: their mean of helpful at points\[0\]"
    ):
        ParetoFront.load(path)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"file": "../front.prompts.safetensors", "sha256": "0"}, "must name a file beside the front"),
        ({"file": "a\\b", "sha256": "0"}, "must name a file beside the front"),
        ({"file": 3, "sha256": "0"}, "must name a file beside the front"),
        ({"file": "", "sha256": "0"}, "must name a file beside the front"),
        ({"file": "..", "sha256": "0"}, "must name a file beside the front"),
        ({"file": "x.safetensors", "sha256": "a/b"}, "must name a file beside the front"),
        ({"file": "x.safetensors"}, r"field prompt_rewards\.sha256 is missing"),
        ({"fiel": "x", "sha256": "0"}, "did you mean 'file'"),
        ("x.safetensors", "prompt_rewards must be an object with the fields file, sha256"),
    ],
)
def test_refuses_a_wrong_reference(front, tmp_path, record, message):
    path = front.save(tmp_path / "front.json")
    document = json.loads(path.read_text()) | {"prompt_rewards": record}
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match=message):
        ParetoFront.load(path)


# ---- older files

VERSION_1 = """{
 "schema": "frontier.ParetoFront",
 "schema_version": 1,
 "objectives": ["helpful", "brief"],
 "points": [
  {"rewards": [0.1, 1.0], "standard_error": [0.02, null], "n_prompts": 64,
   "preference": {"weights": {"helpful": 0.0, "brief": 1.0}}, "kl": 0.5, "source": "clp", "extra": {}}
 ],
 "reference_policy": null,
 "normalizer": null,
 "info": {"dataset": "x"}
}"""


def test_reads_version_1(tmp_path):
    path = tmp_path / "front.json"
    path.write_text(VERSION_1)
    front = ParetoFront.load(path)
    assert front.points[0].rewards == (0.1, 1.0)
    assert math.isnan(front.points[0].standard_error[1])
    assert front.prompt_rewards is None
    assert json.loads(front.save(path).read_text())["schema_version"] == 2


def test_version_1_had_no_samples(tmp_path):
    path = tmp_path / "front.json"
    path.write_text(VERSION_1.replace('"info"', '"prompt_rewards": null, "info"'))
    with pytest.raises(InputError, match="unknown field of the front 'prompt_rewards'"):
        ParetoFront.load(path)


@pytest.mark.parametrize("version", ["3", "0", "true", '"2"', "null"])
def test_refuses_other_versions(tmp_path, version):
    path = tmp_path / "front.json"
    path.write_text(VERSION_1.replace('"schema_version": 1', f'"schema_version": {version}'))
    with pytest.raises(
        InputError, match=r"schema_version must be 1 or 2, found .*a newer front needs a newer frontier"
    ):
        ParetoFront.load(path)


# ---- a front and its samples


def test_a_front_refuses_samples_of_other_points(front):
    with pytest.raises(InputError, match=r"of the front's 2 points and of helpful, brief; found 3 points"):
        dataclasses.replace(front, points=front.points[:2])
    with pytest.raises(InputError, match=r"belong to other points: their mean of \w+ at points\[0\]"):
        dataclasses.replace(front, points=front.points[::-1])
    with pytest.raises(InputError, match=r"belong to other points: .* at reference_policy"):
        dataclasses.replace(front, reference_policy=FrontPoint((9, 9), (0, 0), 5))
    with pytest.raises(InputError, match="found 3 points and brief, helpful"):
        dataclasses.replace(front, prompt_rewards=front.prompt_rewards.select(NAMES[::-1]))
    with pytest.raises(InputError, match="must be PromptRewards or None, found list"):
        dataclasses.replace(front, prompt_rewards=[])


def test_means_of_single_precision_fit():
    values = np.random.default_rng(0).normal(5, 3, (4, 100, 2)).astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)  # means of nearly 0, whose rounding is all that is left
    samples = PromptRewards(NAMES, values, tuple(map(str, range(100))))
    points = tuple(FrontPoint(tuple(map(float, m)), (0.1, 0.1), 100) for m in values.mean(axis=1))
    assert ParetoFront(NAMES, points, prompt_rewards=samples).prompt_rewards is samples


def test_non_dominated_keeps_the_samples_of_the_points_that_stay():
    samples = PromptRewards(NAMES, [[[0, 0]], [[1, 1]], [[2, 0]]], ("p",))
    best = ParetoFront.of_prompt_rewards(samples).non_dominated()
    assert best.prompt_rewards.rewards.tolist() == [[[1, 1]], [[2, 0]]]
