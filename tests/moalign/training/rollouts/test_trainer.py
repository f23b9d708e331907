"""The online learner's rollouts: TRL's interface, its result from the same completions, and a word where the batching engine cannot help."""

import inspect
import logging

import pytest
import torch
from peft import LoraConfig
from torch.testing import assert_close
from transformers import AutoModelForCausalLM
from trl import RLOOConfig, RLOOTrainer

from frontier.errors import InputError
from moalign.methods.clp import CLPTrainer
from moalign.training.rollouts.trainer import RolloutTrainer
from reward_heads import FunctionReward


@pytest.fixture
def make(quick, tiny_base, tmp_path):
    def trainer(name="run", policy=None, **changes):
        config = quick.settings(tmp_path / name, beta=0.3, **changes)
        return CLPTrainer(policy or str(tiny_base), quick.reward, config, quick.prompts)

    return trainer


def rolled_out(trainer, completions=None):
    """A rollout batch of two prompts."""
    if completions is not None:
        trainer._generate_single_turn = lambda *args: completions
    trainer.model.train()
    return trainer._generate_and_score_completions([{"prompt": p} for p in ("a b", "c d e") for _ in range(4)])


def test_trl_still_asks_for_completions_as_it_did():
    """The arguments that it hands over, and that it takes nothing but lists of ids, each with its ending token."""
    asked = list(inspect.signature(RLOOTrainer._generate_single_turn).parameters)
    assert asked == list(inspect.signature(RolloutTrainer._generate_single_turn).parameters)
    assert asked == ["self", "prompt_ids", "images", "multimodal_fields"]
    scored = list(inspect.signature(RLOOTrainer._get_per_token_logps_and_entropies).parameters)
    assert scored[:6] == ["self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size"]
    assert scored[6:8] == ["compute_entropy", "compute_aux_loss"]


def test_both_ways_to_generate_return_the_same_thing(make, quick, tiny_base):
    """Greedy, so that the draws are the same."""
    found = {}
    for rollout in ("batched", "transformers"):
        trainer = make(rollout, quick.policy(tiny_base), rollout=rollout, generation_kwargs={"do_sample": False})
        original, returned = trainer._generate_single_turn, []
        trainer._generate_single_turn = lambda *args, o=original, r=returned: r.append(o(*args)) or r[-1]
        found[rollout] = (rolled_out(trainer), returned[0])
    (ours, ids), (theirs, expected) = found["batched"], found["transformers"]
    assert ids == expected
    assert all(type(token) is int for row in ids for token in row)
    for name, value in theirs.items():
        assert_close(ours[name], value, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("rollout", ["batched", "transformers"])
def test_an_ending_token_of_generation_kwargs_ends_beside_the_tokenizers_own(make, rollout):
    """Nothing comes behind either of them, not even padding, and a completion that it ends is not cut short."""
    named = [5, 6, 7, 8]
    trainer = make(
        rollout=rollout,
        generation_kwargs={"eos_token_id": named},
        temperature=3.0,
        max_completion_length=40,
        mask_truncated_completions=True,
    )
    original, returned = trainer._generate_single_turn, []
    trainer._generate_single_turn = lambda *args: returned.append(original(*args)) or returned[-1]
    output = rolled_out(trainer)
    ends = {trainer.policy.tokenizer.eos_token_id, *named}
    assert {ids[-1] for ids in returned[0]} & set(named)
    for ids, mask in zip(returned[0], output["completion_mask"], strict=True):
        assert not ends & set(ids[:-1])
        assert ids[-1] in ends or len(ids) == 40
        assert int(mask.sum()) == (len(ids) if ids[-1] in ends else 0)


def test_three_updates_on_the_same_completions_are_trls_own(quick, tiny_base, tmp_path):
    """Batched rollouts, shared prompts and the kept forward against plain `RLOOTrainer` that is handed our completions."""
    reward = FunctionReward({"helpful": quick.helpful})
    config = quick.settings(tmp_path / "ours", beta=0.3, max_steps=3, mask_truncated_completions=True, lora_r=4)
    ours = CLPTrainer(str(tiny_base), reward, config, quick.prompts)
    start = {n.replace(".helpful.", ".default."): p for n, p in quick.parameters(ours).items()}
    generate, drawn = ours._generate_single_turn, []

    def kept(*args):
        drawn.append((args[0], generate(*args)))
        return drawn[-1][1]

    ours._generate_single_turn = kept
    ours.train()
    same = ("max_steps", "per_device_train_batch_size", "num_generations", "max_completion_length", "learning_rate")
    same += ("beta", "save_strategy", "report_to", "disable_tqdm", "use_cpu", "gradient_checkpointing", "bf16")
    args = RLOOConfig(
        output_dir=str(tmp_path / "trl"),
        mask_truncated_completions=True,
        **{name: getattr(config, name) for name in same},
    )
    theirs = RLOOTrainer(
        AutoModelForCausalLM.from_pretrained(tiny_base),
        lambda completions, **_: [quick.helpful("", c) for c in completions],
        args,
        quick.prompts,
        processing_class=ours.policy.tokenizer,
        peft_config=LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    theirs.model.load_state_dict(start, strict=False)
    handed = iter(drawn)

    def hand_over(prompt_ids, *args):
        prompts, completions = next(handed)
        assert prompts == prompt_ids
        return completions

    theirs._generate_single_turn = hand_over
    theirs.train()
    assert len({len(completion) for _, some in drawn for completion in some}) > 1
    ends = {n: p for n, p in theirs.model.named_parameters() if ".lora_" in n}
    assert any(not torch.equal(p, start[n]) for n, p in ends.items())
    for name, value in quick.parameters(ours).items():
        assert_close(value, ends[name.replace(".helpful.", ".default.")].detach(), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mask_truncated_completions": True},
        {"num_iterations": 2},
        {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
        {"gradient_checkpointing": True},
        {"gradient_checkpointing": True, "gradient_aggregation": "UPGrad"},
        {"kl_mixing": True},
        {"lora_target_modules": "output,attention"},
    ],
    ids=str,
)
def test_sharing_prompts_changes_nothing_but_rounding(quick, tiny_base, tmp_path, changes):
    ends = []
    for share in (True, False):
        config = quick.settings(tmp_path / str(share), share_prompts=share, **{"beta": 0.3, **quick.sgd, **changes})
        trainer = CLPTrainer(str(tiny_base), quick.reward, config, quick.prompts)
        trainer.train()
        ends.append(quick.parameters(trainer))
    assert any(value.any() for name, value in ends[0].items() if "lora_B" in name)
    for name, value in ends[0].items():
        assert_close(value, ends[1][name], atol=1e-5, rtol=1e-4, msg=name)


def test_a_run_that_asks_for_more_gets_transformers_and_a_warning(make, caplog):
    with caplog.at_level(logging.WARNING):
        trainer = make(repetition_penalty=1.2)
    assert (
        "generated by transformers, for the batching engine can't: it does not know repetition_penalty = 1.2"
        in caplog.text
    )
    assert trainer._sampling is None
    assert rolled_out(trainer)["completion_ids"].shape[0] == 8


def test_a_model_that_cannot_be_batched_gets_transformers_and_a_warning(make, quick, tiny_base, caplog):
    policy = quick.policy(tiny_base)
    policy.base.set_attn_implementation("flex_attention")
    with caplog.at_level(logging.WARNING):
        trainer = make(policy=policy)
    assert "attn_implementation='flex_attention'" in caplog.text
    assert trainer._sampling is None


def test_an_unknown_way_to_generate_is_refused(quick, tmp_path):
    with pytest.raises(InputError, match="unknown rollout 'batchd': did you mean 'batched'"):
        quick.settings(tmp_path, rollout="batchd")


def test_a_helper_called_outside_a_rollout_says_so(make):
    with pytest.raises(RuntimeError, match="no rollout is under way"):
        make()._generate_single_turn([[1]], None, {})
