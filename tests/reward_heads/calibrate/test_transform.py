import json

import pytest
import torch

from frontier.errors import InputError
from reward_heads import TransformerReward
from reward_heads.calibrate import Affine, Calibration, Cooled, Identity, Isotonic
from reward_heads.saved import load_reward, save_reward
from reward_heads.transforms import Transform, TransformedReward

CALIBRATION = Calibration(
    ("a", "b", "c", "d"),
    (Cooled(2.0), Affine(3.0, -1.0), Isotonic((0.0, 1.0), (1.0, 5.0), 0.5), Identity()),
    "held-out rows",
)


def test_hand_computed():
    scores = torch.tensor([[4.0, 1.0, 0.5, 7.0], [-2.0, torch.nan, 3.0, torch.nan]])
    expected = torch.tensor([[2.0, 2.0, 3.0, 7.0], [-1.0, torch.nan, 6.0, torch.nan]])
    torch.testing.assert_close(CALIBRATION(scores, ["p"] * 2, ["c"] * 2), expected, equal_nan=True)
    assert CALIBRATION(scores, [], []).dtype == torch.float32


def test_is_a_transform_that_json_keeps_exactly():
    assert isinstance(CALIBRATION, Transform)
    odd = Calibration(("a",), (Isotonic((0.1, 1 / 3), (0.1 + 0.2, 2 / 3), 1e-17),))
    for one in (CALIBRATION, odd):
        assert Calibration.from_json(json.loads(json.dumps(one.to_json(), allow_nan=False))) == one


def test_rows_are_independent_and_objectives_permute():
    torch.manual_seed(0)
    scores = torch.randn(20, 4)
    whole = CALIBRATION(scores, [""] * 20, [""] * 20)
    assert torch.equal(whole[7:8], CALIBRATION(scores[7:8], [""], [""]))
    order = [2, 0, 3, 1]
    turned = Calibration(tuple(CALIBRATION.objectives[k] for k in order), tuple(CALIBRATION.maps[k] for k in order))
    assert torch.equal(turned(scores[:, order], [""] * 20, [""] * 20), whole[:, order])


def test_is_saved_with_the_reward_and_applied_when_it_is_loaded(base, tokenizer, tmp_path):
    model = TransformerReward.from_base(base, ["kind", "brief"], tokenizer=tokenizer)
    calibration = Calibration(("kind", "brief"), (Cooled(0.3), Isotonic((0.0, 0.1), (1.0, 2.0), 3.0)))
    calibrated = TransformedReward(model, [calibration])
    texts = (["ask me :"] * 2, [" good cat", " bad"])
    save_reward(calibrated, tmp_path / "reward")
    loaded = load_reward(tmp_path / "reward")
    assert torch.equal(loaded.score(*texts), calibrated.score(*texts))
    torch.testing.assert_close(loaded.score(*texts)[:, 0], model.score(*texts)[:, 0] / 0.3)
    assert loaded.transforms == (calibration,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maps": [{"method": "temprature", "temperature": 1.0}]}, "did you mean 'temperature'"),
        ({"maps": [{"method": "temperature", "temprature": 1.0}]}, "did you mean 'temperature'"),
        ({"maps": [{"method": "temperature"}]}, "field 'temperature' is missing"),
        ({"maps": [{"method": "temperature", "temperature": 0.0}]}, "temperature must be positive"),
        ({"maps": [{"method": "affine", "slope": -1.0, "offset": 0.0}]}, "slope must be positive"),
        ({"maps": []}, "0 maps for 1 objectives"),
        ({"extra": 1}, "unknown field of a calibration 'extra'"),
    ],
)
def test_refuses_a_broken_file(change, message):
    whole = {"objectives": ["a"], "maps": [{"method": "temperature", "temperature": 1.0}], "source": ""}
    with pytest.raises(InputError, match=message):
        Calibration.from_json(whole | change)


def test_refuses_other_scores():
    with pytest.raises(InputError, match=r"must end in 4 objectives \(a, b, c, d\)"):
        CALIBRATION(torch.zeros(2, 3), [""] * 2, [""] * 2)
    with pytest.raises(InputError, match="field 'maps' is missing"):
        Calibration.from_json({"objectives": ["a"]})
