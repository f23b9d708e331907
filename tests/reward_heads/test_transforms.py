import json

import pytest
import torch

from frontier.errors import InputError
from reward_heads import CachedReward, FunctionReward, NormalizedReward, Normalizer, TransformerReward, as_reward_funcs
from reward_heads import transforms as module
from reward_heads.saved import load_reward, save_reward
from reward_heads.transforms import TransformedReward, fingerprint, load_transforms


class Affine:
    """A transform to test with: scale · score + per-word bonus."""

    kind = "affine"

    def __init__(self, objectives, scale, per_word=0.0):
        self.objectives = tuple(objectives)
        self.scale, self.per_word = scale, per_word

    def __call__(self, scores, prompts, completions):
        words = torch.tensor([float(len(completion.split())) for completion in completions])
        return scores * self.scale + self.per_word * words[:, None]

    def to_json(self):
        return {"objectives": list(self.objectives), "scale": self.scale, "per_word": self.per_word}

    @classmethod
    def from_json(cls, data):
        return cls(**data)


@pytest.fixture(autouse=True)
def affine_can_be_saved(monkeypatch):
    # The modules that the tests are imported as have no fixed name, so the loader is given the class by a module that has one.
    monkeypatch.setitem(module.KINDS, "affine", "reward_heads.transforms:TestAffine")
    monkeypatch.setattr(module, "TestAffine", Affine, raising=False)


LENGTH = FunctionReward({"long": lambda prompt, completion: float(len(completion))})
TEXTS = (["p", "p"], ["two words", "three short words"])


def test_hand_computed():
    reward = TransformedReward(LENGTH, [Affine(["long"], 2.0, per_word=-1.0)])
    assert reward.score(*TEXTS).tolist() == [[16.0], [31.0]]  # 2 · 9 − 2 and 2 · 17 − 3


def test_transforms_of_transforms_apply_in_order():
    once = TransformedReward(LENGTH, [Affine(["long"], 2.0)])
    twice = TransformedReward(once, [Affine(["long"], 1.0, per_word=10.0)])
    assert twice.reward is LENGTH
    assert twice.score(*TEXTS).tolist() == [[38.0], [64.0]]


def test_every_consumer_sees_the_corrected_scores(reward, tmp_path):
    corrected = TransformedReward(reward, [Affine(reward.objectives, 3.0, per_word=0.5)])
    prompts, completions = ["ask me :"] * 3, [" good", " bad cat", " red sky sea"]
    expected = corrected.score(prompts, completions)
    assert not torch.equal(expected, reward.score(prompts, completions))
    save_reward(corrected, tmp_path)
    loaded = load_reward(tmp_path)
    assert isinstance(loaded, TransformedReward)
    assert torch.equal(loaded.score(prompts, completions), expected)
    assert torch.equal(CachedReward(loaded).score(prompts, completions), expected)
    funcs = as_reward_funcs(loaded)
    assert [f(prompts=prompts, completions=completions) for f in funcs] == expected.T.tolist()
    unit = Normalizer(loaded.objectives, (0.0,) * 3, (1.0,) * 3, 1)
    assert torch.equal(NormalizedReward(loaded, unit).score(prompts, completions), expected)


def test_saving_again_without_transforms_leaves_none(reward, tmp_path):
    save_reward(TransformedReward(reward, [Affine(reward.objectives, 3.0)]), tmp_path)
    save_reward(reward, tmp_path)
    assert isinstance(load_reward(tmp_path), TransformerReward)


def test_refuses_transforms_beside_other_weights(reward, tmp_path):
    save_reward(TransformedReward(reward, [Affine(reward.objectives, 3.0)]), tmp_path)
    with torch.no_grad():
        next(reward.model.parameters()).add_(1.0)
    reward.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="fitted for another reward"):
        load_reward(tmp_path)


def test_fingerprint_follows_marker_and_weights(tmp_path):
    (tmp_path / "m.json").write_text("{}")
    (tmp_path / "a.safetensors").write_bytes(b"1")
    first = fingerprint(tmp_path, "m.json")
    assert fingerprint(tmp_path, "m.json") == first
    (tmp_path / "notes.txt").write_text("other files don't count")
    assert fingerprint(tmp_path, "m.json") == first
    (tmp_path / "a.safetensors").write_bytes(b"2")
    assert fingerprint(tmp_path, "m.json") != first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 9}, "schema_version"),
        ({"transforms": [{"kind": "afine"}]}, "did you mean 'affine'"),
        ({"transforms": [{"kind": "affine", "slope": 1}]}, "TypeError"),
    ],
)
def test_refuses_a_broken_file(reward, tmp_path, change, message):
    save_reward(TransformedReward(reward, [Affine(reward.objectives, 3.0)]), tmp_path)
    path = tmp_path / module.FILE_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message) as error:
        load_transforms(tmp_path, "reward_heads.json")
    assert str(path) in str(error.value)


def test_refuses_what_does_not_fit():
    with pytest.raises(InputError, match="fitted for short, the reward has long"):
        TransformedReward(LENGTH, [Affine(["short"], 1.0)])
    with pytest.raises(InputError, match="at least one transform"):
        TransformedReward(LENGTH, [])
    reward = TransformedReward(LENGTH, [Affine(["long"], 1.0)])
    with pytest.raises(InputError, match=r"must be \[2, 1\]"):
        reward.transform(torch.zeros(3, 1), *TEXTS)


def test_what_is_not_known_stays_unknown():
    class Invents(Affine):
        def __call__(self, scores, prompts, completions):
            return scores.nan_to_num(0.0)

    unknown = FunctionReward({"long": lambda prompt, completion: None})
    assert TransformedReward(unknown, [Affine(["long"], 2.0)]).score(*TEXTS).isnan().all()
    with pytest.raises(InputError, match="leave what is not known as NaN"):
        TransformedReward(unknown, [Invents(["long"], 1.0)]).score(*TEXTS)


class Unheard(Affine):
    kind = "unheard-of"


class NoNumber(Affine):
    def to_json(self):
        return {"scale": float("nan")}


@pytest.mark.parametrize("transform", [Unheard, NoNumber])
def test_a_save_that_is_refused_leaves_what_was_there(reward, tmp_path, transform):
    corrected = TransformedReward(reward, [Affine(reward.objectives, 3.0)])
    save_reward(corrected, tmp_path)
    with pytest.raises(InputError, match=r"kind of transform to save|can't be saved"):
        save_reward(TransformedReward(reward, [transform(reward.objectives, 2.0)]), tmp_path)
    assert torch.equal(load_reward(tmp_path).score(["p"], [" good"]), corrected.score(["p"], [" good"]))
    with pytest.raises(InputError, match=r"kind of transform to save|can't be saved"):
        save_reward(TransformedReward(reward, [transform(reward.objectives, 2.0)]), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_reward_that_can_not_be_saved_leaves_what_was_there(reward, tmp_path):
    class Refuses:
        objectives = reward.objectives

        def save_pretrained(self, folder):
            raise InputError("no source")

    corrected = TransformedReward(reward, [Affine(reward.objectives, 3.0)])
    save_reward(corrected, tmp_path)
    with pytest.raises(InputError, match="no source"):
        save_reward(Refuses(), tmp_path)
    assert isinstance(load_reward(tmp_path), TransformedReward)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("transforms"), "field 'transforms' is missing"),
        (lambda c: c.update(transform=c.pop("transforms")), "did you mean 'transforms'"),
        (lambda c: c.update(transforms=[]), "at least one entry"),
        (lambda c: c.update(transforms={}), "at least one entry"),
        (lambda c: c.pop("fitted_for"), "field 'fitted_for' is missing"),
    ],
)
def test_a_file_without_transforms_is_no_raw_reward(reward, tmp_path, change, message):
    save_reward(TransformedReward(reward, [Affine(reward.objectives, 3.0)]), tmp_path)
    path = tmp_path / module.FILE_NAME
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        load_reward(tmp_path)


def test_weights_of_torch_count_and_settings_of_a_trainer_do_not(tmp_path):
    (tmp_path / "m.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"1")
    first = fingerprint(tmp_path, "m.json")
    (tmp_path / "training_args.bin").write_bytes(b"1")
    assert fingerprint(tmp_path, "m.json") == first
    (tmp_path / "pytorch_model.bin").write_bytes(b"2")
    assert fingerprint(tmp_path, "m.json") != first


def test_transforms_can_be_left_aside(reward, tmp_path):
    save_reward(TransformedReward(reward, [Affine(reward.objectives, 3.0)]), tmp_path)
    raw = load_reward(tmp_path, transforms=False)
    assert isinstance(raw, TransformerReward)
    assert torch.equal(raw.score(["p"], [" good"]), reward.score(["p"], [" good"]))
    (tmp_path / module.FILE_NAME).write_text("broken")
    assert isinstance(load_reward(tmp_path, transforms=False), TransformerReward)
