import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads import FunctionReward, Normalizer
from reward_heads.ensemble import EnsembleReward, score_with_uncertainty
from reward_heads.gating import Gate, GateConfig, GatedReward
from reward_heads.gating.network import GateNetwork

from .conftest import REWARD, KindOfPrompt

UNITS = Normalizer(("facts", "style"), (1.0, 0.0), (2.0, 100.0), 9)
TEXTS = (["cat", "sky"], ["5 300", "5 300"])


def gate(share=0.25, scale=3.0, **settings):
    """A cat wants `facts` with this weight, the sky `style`."""
    network = GateNetwork(3, 2, GateConfig(hidden=(), temperature=1.0))
    logit = math.log(share / (1 - share)) if 0 < share < 1 else math.inf * (share - 0.5)
    with torch.no_grad():
        logit = max(-1e4, min(1e4, logit))
        network.output.weight.copy_(torch.tensor([[logit, 0.0, 0.0], [0.0, logit, 0.0]]))
        network.output.bias.zero_()
        network.log_scale.fill_(math.log(scale))
    return Gate(network, ["facts", "style"], embedder=KindOfPrompt(), **settings)


def test_hand_computed():
    # Normalised: (5 − 1) / 2 = 2 and 300 / 100 = 3; cat: 3 · (1/4 · 2 + 3/4 · 3), sky: 3 · (3/4 · 2 + 1/4 · 3).
    mixed = GatedReward(REWARD, gate(normalizer=UNITS))
    assert mixed.objectives == ("overall",)
    assert_close(mixed.score(*TEXTS), torch.tensor([[8.25], [6.75]]))
    parts = GatedReward(REWARD, gate(normalizer=UNITS), parts=True)
    assert parts.objectives == ("facts", "style")
    assert_close(parts.score(*TEXTS), torch.tensor([[1.5, 6.75], [4.5, 2.25]]))


def test_columns_go_by_name():
    swapped = FunctionReward({name: REWARD.functions[name] for name in ("style", "facts")})
    assert torch.equal(GatedReward(swapped, gate()).score(*TEXTS), GatedReward(REWARD, gate()).score(*TEXTS))


def test_at_a_vertex_it_is_that_objective_and_the_other_need_not_be_known():
    shy = FunctionReward({"facts": REWARD.functions["facts"], "style": lambda p, c: None})
    mixed = GatedReward(shy, gate(1.0, scale=1.0)).score(*TEXTS)
    assert mixed[0].item() == 5.0
    assert mixed[1].isnan()  # the sky wants what isn't known
    assert GatedReward(shy, gate(0.5)).score(*TEXTS).isnan().all()


class Sure:
    objectives = ("facts", "style")

    def score(self, prompts, completions):
        return torch.tensor([[5.0, 300.0]] * len(prompts))

    def score_with_uncertainty(self, prompts, completions):
        return self.score(prompts, completions), torch.tensor([[2.0, 100.0]] * len(prompts))


def test_uncertainty_of_independent_heads():
    # Normalised deviations are 1 and 1; factors 3/4 and 9/4 for the cat.
    scores, std = score_with_uncertainty(GatedReward(Sure(), gate(normalizer=UNITS)), *TEXTS)
    assert_close(scores, torch.tensor([[8.25], [6.75]]))
    assert_close(std, torch.full((2, 1), math.hypot(0.75, 2.25)))
    parts = GatedReward(Sure(), gate(normalizer=UNITS), parts=True)
    assert_close(score_with_uncertainty(parts, *TEXTS)[1], torch.tensor([[0.75, 2.25], [2.25, 0.75]]))


def test_uncertainty_of_an_ensemble_comes_from_its_members():
    # Members whose errors cancel in the even mixture: heads alone would say sqrt(2), the members know better.
    up, down = (FunctionReward({"facts": lambda p, c, s=s: s, "style": lambda p, c, s=s: -s}) for s in (1.0, -1.0))
    mixed = GatedReward(EnsembleReward([up, down], scales="shared"), gate(0.5))
    assert_close(score_with_uncertainty(mixed, *TEXTS)[1], torch.zeros(2, 1))


def test_refuses_what_does_not_fit():
    with pytest.raises(InputError, match="unknown objective of the reward 'fact': did you mean 'facts'"):
        GatedReward(FunctionReward({"fact": len}), gate())
    with pytest.raises(InputError, match="weighs 'style', which the reward lacks"):
        GatedReward(FunctionReward({"facts": len}), gate())
    with pytest.raises(InputError, match="has no embedder"):
        GatedReward(REWARD, Gate(gate().network, ["facts", "style"]))
    with pytest.raises(InputError, match="'='"):
        GatedReward(REWARD, gate(), name="a=b")
