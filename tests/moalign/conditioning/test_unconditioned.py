import pytest
import torch
from peft import LoraConfig
from torch.testing import assert_close
from transformers import AutoModelForCausalLM
from trl import RLOOConfig, RLOOTrainer

from frontier.errors import InputError
from moalign.conditioning.unconditioned import Unconditioned
from moalign.policy import SteerablePolicy
from moalign.scalarize import MaxMin
from moalign.training.online import OnlineTrainer

SHARED = (
    *("max_steps", "per_device_train_batch_size", "num_generations", "max_completion_length", "learning_rate", "beta"),
    *("save_strategy", "report_to", "disable_tqdm", "use_cpu", "gradient_checkpointing", "bf16"),
)


def test_mixing_by_hand():
    weights = torch.tensor([[0.7, 0.3], [0.0, 1.0], [0.0, 0.0], [0.6, -0.6]])
    assert Unconditioned(("a", "b")).mixing(weights).tolist() == [[1.0], [1.0], [0.0], [1.0]]


def test_training_for_one_preference_is_trl_rloo_on_the_weighted_sum(quick, tiny_base, tmp_path):
    options = {"conditioning": "none", "preference": "helpful=0.7,brief=0.3", "max_steps": 3, "beta": 0.3}
    # Generated as TRL does, or the same random numbers would make other completions.
    config = quick.settings(tmp_path / "ours", rollout="transformers", **options)
    ours = OnlineTrainer(str(tiny_base), quick.reward, config, quick.prompts)
    assert list(ours.model.peft_config) == ["policy"]
    start = {n.replace(".policy.", ".default."): p for n, p in quick.parameters(ours).items()}
    ours.train()  # before the other is built: building a trainer seeds the global random state that rollouts draw from

    def weighted(completions, **kwargs):
        return [0.7 * quick.helpful("", c) + 0.3 * quick.brief("", c) for c in completions]

    args = RLOOConfig(output_dir=str(tmp_path / "trl"), **{name: getattr(config, name) for name in SHARED})
    lora = LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    theirs = RLOOTrainer(
        AutoModelForCausalLM.from_pretrained(tiny_base),
        weighted,
        args,
        quick.prompts,
        processing_class=ours.policy.tokenizer,
        peft_config=lora,
    )
    theirs.model.load_state_dict(start, strict=False)
    theirs.train()
    ends = {n: p.detach() for n, p in theirs.model.named_parameters() if ".lora_" in n}
    assert any((p - start[n]).abs().max() > 1e-3 for n, p in ends.items())
    for name, value in quick.parameters(ours).items():
        assert_close(value, ends[name.replace(".policy.", ".default.")], atol=2e-5, rtol=1e-4)


def test_every_preference_is_the_same_policy(quick, tiny_base):
    policy = quick.policy(tiny_base, conditioning="none")
    scores = [policy.log_probs(["a b"], ["c d"], w) for w in ("helpful=1.0", "brief=1.0", "helpful=0.5,brief=0.5")]
    assert torch.equal(scores[0], scores[1])
    assert torch.equal(scores[0], scores[2])
    assert (scores[0] - policy.log_probs(["a b"], ["c d"], None)).abs() > 1e-3
    with pytest.raises(InputError, match="strength scales mixed weights"):
        policy.weights("helpful=1.0", 1, strength=0.5)


def test_without_a_preference_a_scalarizer_has_to_decide(quick, tiny_base, tmp_path):
    config = quick.settings(tmp_path, conditioning="none", max_steps=1)
    with pytest.raises(InputError, match=r"set `preference`, as in --preference helpful=0.5,brief=0.5"):
        OnlineTrainer(str(tiny_base), quick.reward, config, quick.prompts)
    trainer = OnlineTrainer(str(tiny_base), quick.reward, config, quick.prompts, scalarizer=MaxMin(quick.objectives))
    trainer.train()
    assert trainer.policy.training["preferences"] == "none: the scalarizer weighs the objectives"
    assert trainer.policy.training["conditioning"] == "none"
    assert trainer.policy.training["scalarizer"] == "MaxMin"


def test_checkpoints_resume_bit_equal(quick, tiny_base, tmp_path):
    options = {"conditioning": "none", "preference": "brief=1.0", "save_strategy": "steps", "save_steps": 1}

    def trainer(name):
        return OnlineTrainer(str(tiny_base), quick.reward, quick.settings(tmp_path / name, **options), quick.prompts)

    whole, half = trainer("whole"), trainer("half")
    whole.train()
    half.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-1"))
    for name, value in quick.parameters(whole).items():
        assert torch.equal(value, quick.parameters(half)[name]), name
    assert SteerablePolicy.from_pretrained(tmp_path / "whole" / "checkpoint-1").conditioning.kind == "none"
