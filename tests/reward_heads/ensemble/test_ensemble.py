import json
import math
import os
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads import FunctionReward, Normalizer, TransformerReward
from reward_heads.ensemble import EnsembleReward, SharedTrunk, member_names
from reward_heads.saved import load_reward, save_reward
from reward_heads.transforms import TransformedReward

PROMPTS = ["p"] * 3
COMPLETIONS = ["one", "one two", "one two three four"]


def words(scale, offset=0.0, name="long"):
    return FunctionReward({name: lambda p, c: scale * len(c.split()) + offset})


def test_one_member_is_the_member():
    member = words(0.1, 1 / 3)
    for how in ("mean", "worst", "uncertainty_weighted"):
        assert torch.equal(
            EnsembleReward([member], how).score(PROMPTS, COMPLETIONS), member.score(PROMPTS, COMPLETIONS)
        )
        measured = EnsembleReward.measured([member], PROMPTS, COMPLETIONS, how)
        assert_close(measured.score(PROMPTS, COMPLETIONS), member.score(PROMPTS, COMPLETIONS))


def test_no_penalty_is_the_mean_and_the_worst_is_below():
    members = [words(1.0), words(2.0, -3.0), words(-1.0)]
    mean, worst, free, careful = (
        EnsembleReward(members, how, penalty=penalty, scales="shared").score(PROMPTS, COMPLETIONS)
        for how, penalty in (
            ("mean", 1.0),
            ("worst", 1.0),
            ("uncertainty_weighted", 0.0),
            ("uncertainty_weighted", 2.0),
        )
    )
    assert mean.squeeze(1).tolist() == pytest.approx([-1 / 3, 1 / 3, 5 / 3])
    assert torch.equal(free, mean)
    assert (worst <= mean).all()
    assert (careful < mean).all()


def test_members_come_to_one_scale():
    # The same opinion in other units: nothing to disagree about, at the mean location and scale (words · 2 + 50).
    members = [words(1.0), words(3.0, 100.0)]
    ensemble = EnsembleReward.measured(members, PROMPTS, COMPLETIONS, "worst")
    scores, std = ensemble.score_with_uncertainty(PROMPTS, COMPLETIONS)
    assert_close(scores.squeeze(1), torch.tensor([52.0, 54.0, 58.0]))
    assert_close(std, torch.zeros(3, 1), atol=1e-4, rtol=0)
    # Offsets alone don't change who is better, whichever member has which.
    moved = EnsembleReward.measured([words(1.0, 7.0), words(3.0)], PROMPTS, COMPLETIONS, "worst")
    gaps = [e.score(PROMPTS, COMPLETIONS).diff(dim=0) for e in (ensemble, moved)]
    assert_close(gaps[0], gaps[1])


def test_members_may_have_their_objectives_in_any_order():
    first = FunctionReward({"a": lambda p, c: 1.0, "b": lambda p, c: 2.0})
    second = FunctionReward({"b": lambda p, c: 4.0, "a": lambda p, c: 3.0})
    ensemble = EnsembleReward([first, second], scales="shared")
    assert ensemble.objectives == ("a", "b")
    assert ensemble.score(["p"], ["c"]).tolist() == [[2.0, 3.0]]
    assert ensemble.member_scores(["p"], ["c"]).tolist() == [[[1.0, 2.0]], [[3.0, 4.0]]]


def test_a_member_that_does_not_know_is_left_out():
    shy = FunctionReward({"long": lambda p, c: len(c.split()) if len(c) < 10 else None})
    ensemble = EnsembleReward([shy, words(2.0), words(3.0)], "worst", scales="shared")
    scores, std = ensemble.score_with_uncertainty(PROMPTS, COMPLETIONS)
    assert scores.squeeze(1).tolist() == [1.0, 2.0, 8.0]
    assert std.squeeze(1).tolist() == pytest.approx([1.0, 2.0, math.sqrt(8)])
    # The scale is measured on what all of them know, so that it means the same texts.
    measured = EnsembleReward.measured([shy, words(2.0), words(3.0)], PROMPTS, COMPLETIONS)
    assert [scale.location for scale in measured.scales] == [(1.5,), (3.0,), (4.5,)]


def test_an_empty_batch():
    assert EnsembleReward([words(1.0), words(2.0)], "worst", scales="shared").score([], []).shape == (0, 1)


def saved_members(base, tokenizer, seeds=(0, 1)):
    return [TransformerReward.from_base(base, ["kind", "brief"], tokenizer=tokenizer, seed=seed) for seed in seeds]


TEXTS = (["ask me :"] * 3, [" good", " bad cat", " red sky sea"])


def test_round_trip_of_full_members(base, tokenizer, tmp_path):
    ensemble = EnsembleReward.measured(saved_members(base, tokenizer), *TEXTS, "uncertainty_weighted", penalty=0.7)
    save_reward(ensemble, tmp_path / "ensemble")
    names = sorted(p.name for p in (tmp_path / "ensemble").iterdir())
    assert [name[:8] for name in names] == ["ensemble", "member-1", "member-2"]
    loaded = load_reward(tmp_path / "ensemble")
    assert isinstance(loaded, EnsembleReward)
    for found, expected in zip(
        loaded.score_with_uncertainty(*TEXTS), ensemble.score_with_uncertainty(*TEXTS), strict=True
    ):
        assert torch.equal(found, expected)


def test_round_trip_of_a_shared_trunk(base, tokenizer, tmp_path):
    heads = TransformerReward.from_base(base, member_names(["kind", "brief"], 3), tokenizer=tokenizer)
    EnsembleReward(SharedTrunk(heads), "worst").save_pretrained(tmp_path)
    loaded = load_reward(tmp_path)
    assert (loaded.objectives, loaded.size) == (("kind", "brief"), 3)
    assert torch.equal(loaded.score(*TEXTS), EnsembleReward(SharedTrunk(heads), "worst").score(*TEXTS))


def test_saving_over_an_older_ensemble_leaves_nothing_of_it(base, tokenizer, tmp_path):
    from reward_heads.calibrate import Calibration
    from reward_heads.calibrate.maps import Affine

    members = saved_members(base, tokenizer)
    unit = Normalizer(("kind", "brief"), (0.0, 0.0), (1.0, 1.0), 3)
    double = Calibration(("kind", "brief"), (Affine(2.0, 0.0), Affine(2.0, 0.0)))
    EnsembleReward([TransformedReward(members[0], [double]), members[1]], scales=[unit, unit]).save_pretrained(tmp_path)
    assert load_reward(tmp_path).score(*TEXTS).shape == (3, 2)
    plain = EnsembleReward(members, scales=[unit, unit])
    plain.save_pretrained(tmp_path)
    assert torch.equal(load_reward(tmp_path).score(*TEXTS), plain.score(*TEXTS))


def test_a_save_that_is_cut_off_leaves_the_earlier_ensemble(base, tokenizer, tmp_path, monkeypatch):
    def ensemble(*seeds):
        return EnsembleReward(saved_members(base, tokenizer, seeds), scales="shared")

    ensemble(0, 1).save_pretrained(tmp_path)
    before, whole, done = load_reward(tmp_path).score(*TEXTS), os.replace, 0

    def cut(source, target):
        if tmp_path in Path(target).parents and not Path(target).name.startswith("."):
            if not left:
                raise KeyboardInterrupt
            left.pop()
        whole(source, target)

    while True:
        left = [None] * done
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", cut)
            try:
                ensemble(2, 3).save_pretrained(tmp_path)
                break
            except KeyboardInterrupt:
                assert torch.equal(load_reward(tmp_path).score(*TEXTS), before)
        done += 1
    assert done > 4
    assert torch.equal(load_reward(tmp_path).score(*TEXTS), ensemble(2, 3).score(*TEXTS))
    assert len(list(tmp_path.iterdir())) == 3  # nothing of the earlier one is left


def test_saving_again_repairs_a_member_that_was_changed(base, tokenizer, tmp_path):
    ensemble = EnsembleReward(saved_members(base, tokenizer), scales="shared")
    ensemble.save_pretrained(tmp_path)
    [second] = tmp_path.glob("member-2-*")
    (second / "transforms.json").write_text("{}")
    with pytest.raises(InputError, match="is not the reward that was saved with it"):
        load_reward(tmp_path)
    ensemble.save_pretrained(tmp_path)
    assert torch.equal(load_reward(tmp_path).score(*TEXTS), ensemble.score(*TEXTS))


def test_refuses_members_that_were_changed(base, tokenizer, tmp_path):
    members = saved_members(base, tokenizer)
    EnsembleReward(members, scales="shared").save_pretrained(tmp_path)
    with torch.no_grad():
        next(members[1].model.parameters()).add_(1.0)
    [second] = tmp_path.glob("member-2-*")
    members[1].save_pretrained(second)
    with pytest.raises(InputError, match=r"'member-2-[0-9a-f]{8}' is not the reward that was saved with it"):
        load_reward(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "'schema_version' must be 1"),
        ({"combin": "mean"}, "did you mean 'combine'"),
        ({"combine": "median"}, "unknown combine 'median'"),
        ({"objectives": ["kind"]}, "'objectives' has kind"),
        ({"members": [{"folder": "../elsewhere", "digest": ""}]}, "subfolder '../elsewhere' is missing"),
        ({"members": "none"}, "not what save_pretrained writes"),
        ({"scales": [{"objectives": []}]}, "normalizer"),
    ],
)
def test_refuses_a_broken_file(base, tokenizer, tmp_path, change, message):
    EnsembleReward(saved_members(base, tokenizer), scales="shared").save_pretrained(tmp_path)
    path = tmp_path / "ensemble.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message) as error:
        load_reward(tmp_path)
    assert str(path) in str(error.value)


def test_python_code_cannot_be_saved(tmp_path):
    with pytest.raises(InputError, match="made of Python code"):
        EnsembleReward([words(1.0)]).save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match=r"has no ensemble\.json"):
        EnsembleReward.from_pretrained(tmp_path)


UNIT = Normalizer(("long",), (0.0,), (1.0,), 5, "here")


@pytest.mark.parametrize(
    ("members", "settings", "message"),
    [
        ([], {}, "at least one member"),
        ([words(1.0), words(2.0)], {}, "2 members need a common scale"),
        ([words(1.0), words(2.0, name="lnog")], {}, "member 2: unknown objective 'lnog': did you mean 'long'"),
        ([FunctionReward({"long": len, "b": len}), words(1.0)], {}, "member 2 has no objective 'b'"),
        ([words(1.0)], {"combine": "min"}, "unknown combine 'min'"),
        ([words(1.0), words(2.0)], {"scales": [UNIT]}, "found 1 for 2"),
        ([words(1.0), words(2.0)], {"scales": "same"}, "unknown scales 'same'"),
        ([words(1.0), words(2.0)], {"scales": [UNIT, Normalizer(("long",), (0.0,), (1.0,), 5, "there")]}, "the same texts"),
        ([words(1.0)], {"scales": [Normalizer(("other",), (0.0,), (1.0,), 5)]}, "unknown objective of the normalizer"),
    ],
)  # fmt: skip
def test_refuses(members, settings, message):
    with pytest.raises(InputError, match=message):
        EnsembleReward(members, **settings)


def test_a_member_without_a_scale_is_named():
    with pytest.raises(InputError, match="member 2 of 2: objective 'long' is 0 in all 3 scores"):
        EnsembleReward.measured([words(1.0), words(0.0)], PROMPTS, COMPLETIONS)
