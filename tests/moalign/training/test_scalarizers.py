"""Every scalarizer in the online learner."""

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.methods.clp import CLPTrainer
from moalign.scalarize import Aspiration, Constraint, GroupNormalised, Lagrangian, Linear, MaxMin, SmoothTchebycheff
from moalign.training.online import OnlineTrainer
from reward_heads import FunctionReward, Normalizer

OBJECTIVES = ("helpful", "brief")
MAKERS = {
    "linear": Linear,
    "smooth_tchebycheff": lambda: SmoothTchebycheff(torch.tensor([3.0, 2.0]), smoothing=0.5),
    "aspiration": lambda: Aspiration(torch.tensor([1.0, -1.0])),
    "max_min": lambda: MaxMin(OBJECTIVES),
    "lagrangian": lambda: Lagrangian(OBJECTIVES, [Constraint("brief", "above", -3.0)], window=16),
    "gdpo": lambda: GroupNormalised(4),
    "mo_grpo": lambda: GroupNormalised(4, whiten=False),
}


def watch(trainer, seen):
    """Keep what each rollout was rewarded."""
    original = trainer._calculate_rewards

    def spy(inputs, prompts, completions, ids):
        prompts, weights = trainer._rows().prompts, trainer._rows().weights
        table = original(inputs, prompts, completions, ids)
        seen.append((prompts, completions, weights, table))
        return table

    trainer._calculate_rewards = spy


@pytest.mark.parametrize("name", MAKERS)
def test_each_trains_on_its_own_value_of_normalised_rewards(quick, tiny_base, tmp_path, name):
    normalizer = Normalizer(OBJECTIVES, (1.0, -4.0), (0.5, 2.0), 8)
    scalarizer = MAKERS[name]()
    trainer = CLPTrainer(
        str(tiny_base),
        quick.reward,
        quick.settings(tmp_path),
        quick.prompts,
        scalarizer=scalarizer,
        normalizer=normalizer,
    )
    seen, at_call = [], []
    watch(trainer, seen)
    called = scalarizer.__class__.__call__

    class Spy:
        def __call__(self, rewards, weights):
            at_call.append((rewards.clone(), weights.clone(), called(scalarizer, rewards, weights)))
            return at_call[-1][2]

        def __getattr__(self, attribute):
            return getattr(scalarizer, attribute)

    trainer.scalarizer = Spy() if name != "linear" else scalarizer
    before = quick.parameters(trainer)
    trainer.train()
    after = quick.parameters(trainer)
    assert len(seen) == 2
    for i, (prompts, completions, weights, table) in enumerate(seen):
        raw = quick.reward.score(prompts, completions)
        by_hand = (raw - torch.tensor([1.0, -4.0])) / torch.tensor([0.5, 2.0])
        assert_close(table[:, :2], raw)
        if name == "linear":
            assert_close(table[:, 2], (weights * by_hand).sum(1))
            continue
        rewards, given, value = at_call[i]
        assert_close(rewards, by_hand)
        assert_close(given, weights)
        assert_close(table[:, 2], value)
    logged = [line["rewards/scalarized/mean"] for line in quick.metrics(tmp_path)]
    assert logged == pytest.approx([float(table[:, 2].mean()) for *_, table in seen], abs=1e-5)
    for adapter in OBJECTIVES:
        assert any(not torch.equal(before[n], after[n]) for n in after if f".lora_B.{adapter}." in n)


def moved(reward, scale, shift):
    """The same judges in other units."""
    return FunctionReward(
        {
            "helpful": lambda p, c: scale[0] * reward.helpful(p, c) + shift[0],
            "brief": lambda p, c: scale[1] * reward.brief(p, c) + shift[1],
        }
    )


@pytest.mark.parametrize(
    ("scalarizer", "invariant"),
    [(GroupNormalised(4), True), (GroupNormalised(4, whiten=False), True), (Linear(), False)],
)
def test_decoupled_advantages_do_not_know_the_rewards_units(quick, tiny_base, tmp_path, scalarizer, invariant):
    def end(reward):
        # Without a KL term, which has units of its own: whitened advantages keep theirs, so it would not spoil the invariance either.
        config = quick.settings(tmp_path, **quick.sgd)
        trainer = CLPTrainer(str(tiny_base), reward, config, quick.prompts, scalarizer=scalarizer)
        trainer.train()
        return torch.cat([p.flatten() for p in quick.parameters(trainer).values()])

    plain, other = end(quick.reward), end(moved(quick, (0.125, 64.0), (-3.0, 100.0)))
    assert torch.allclose(plain, other, atol=1e-5, rtol=1e-4) == invariant


def test_a_wrong_group_size_is_refused_before_training(quick, tiny_base, tmp_path):
    with pytest.raises(InputError, match="GroupNormalised compares groups of 8 completions, but num_generations is 4"):
        CLPTrainer(str(tiny_base), quick.reward, quick.settings(tmp_path), quick.prompts, scalarizer=GroupNormalised(8))


@pytest.mark.parametrize("name", MAKERS)
def test_rows_without_what_was_asked_for_do_not_train(quick, tiny_base, tmp_path, name):
    """At a vertex, with the other reward known: the row is left out, not counted as a reward of 0. Where both count it goes on with what is known."""
    reward = FunctionReward(
        {"helpful": lambda p, c: None if len(c.split()) % 2 else float(len(c)), "brief": quick.brief}
    )
    config = quick.settings(tmp_path, preference="helpful=1.0", beta=0.0)
    trainer = OnlineTrainer(str(tiny_base), reward, config, quick.prompts, scalarizer=MAKERS[name]())
    seen = []
    watch(trainer, seen)
    trainer.model.train()
    batch = trainer._generate_and_score_completions([{"prompt": p} for p in ("a b", "c d e") for _ in range(4)])
    _, completions, _, table = seen[0]
    missing = torch.tensor([len(c.split()) % 2 == 1 for c in completions])
    assert missing.any()
    assert not missing.all()
    assert batch["advantages"].isfinite().all()
    if name in ("max_min", "lagrangian"):  # these weigh the objectives themselves
        assert not table[:, 2].isnan().any()
    elif name in ("gdpo", "mo_grpo"):
        assert torch.equal(table[missing, 2], torch.zeros(int(missing.sum())))  # an advantage of 0
    else:
        assert torch.equal(table.isnan().all(1), missing)
        assert torch.equal(batch["advantages"][missing], torch.zeros(int(missing.sum())))
