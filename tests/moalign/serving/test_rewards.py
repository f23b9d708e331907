import pytest
import torch

from frontier.errors import InputError
from moalign.serving.rewards import RewardHeads, heads_of, reward_folder, rewards_document
from reward_heads import Normalizer
from reward_heads.functions import FunctionReward
from reward_heads.model import TransformerReward
from reward_heads.saved import save_reward

COUNTS = FunctionReward(
    {
        "brief": lambda prompt, completion: -len(completion.split()),
        "safe": lambda prompt, completion: 1.0,
        "helpful": lambda prompt, completion: None if "?" in completion else completion.split().count(prompt),
    }
)


def test_scores_are_in_the_policys_order_and_units():
    raw = RewardHeads(COUNTS, ("helpful", "brief"))
    assert raw.score(["w1", "w2"], ["w1 w1 w2", "w1"]).tolist() == [[2.0, -3.0], [0.0, -1.0]]
    assert raw.units == "raw"
    units = Normalizer(("brief", "helpful"), (-2.0, 1.0), (2.0, 0.5), 9)
    normalized = RewardHeads(COUNTS, ("helpful", "brief"), units)
    assert normalized.score(["w1"], ["w1 w1 w2"]).tolist() == [[2.0, -0.5]]
    assert normalized.raw(["w1"], ["w1 w1 w2"]).tolist() == [[2.0, -3.0]]
    assert normalized.units == "normalized"


def test_what_is_not_known_is_null():
    found = rewards_document(RewardHeads(COUNTS, ("helpful", "brief")), ["w1"], ["w1 ?"])
    assert found["data"] == [{"index": 0, "rewards": {"helpful": None, "brief": -2.0}}]
    assert found["objectives"] == ["helpful", "brief"]


def test_heads_that_do_not_fit():
    with pytest.raises(InputError, match="don't score 'kind'; they score brief, safe, helpful"):
        RewardHeads(COUNTS, ("helpful", "kind"))


def test_a_bundle_brings_its_heads_in_a_folder(model_folders, policy, tmp_path):
    assert heads_of(tmp_path) is None
    (tmp_path / "rewards").mkdir()
    assert heads_of(tmp_path) is None  # of an adapter, say, that is called so
    reward = TransformerReward.from_base(model_folders / "base", ["brief", "helpful"])
    save_reward(reward, tmp_path / "rewards")
    heads = heads_of(tmp_path)(policy)
    expected = reward.score(["w1 w2"], ["w3 w4"])[0].double()
    torch.testing.assert_close(heads.score(["w1 w2"], ["w3 w4"])[0], expected[[1, 0]])
    other = tmp_path / "elsewhere"
    save_reward(TransformerReward.from_base(model_folders / "base", ["brief", "helpful"], seed=7), other)
    assert reward_folder(tmp_path, other) == other
    assert not torch.allclose(heads_of(tmp_path, other)(policy).score(["w1"], ["w3"]), heads.score(["w1"], ["w3"]))
    with pytest.raises(InputError, match="reward_heads: no folder at"):
        heads_of(tmp_path, tmp_path / "nowhere")
