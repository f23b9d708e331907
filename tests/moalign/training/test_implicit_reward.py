import pytest
import torch
from peft import LoraConfig
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, AutoTokenizer

from frontier.errors import InputError
from moalign.cli.sources import load_reward
from moalign.conditioning.adapter_mixture import add_adapters
from moalign.conditioning.prompt import PromptConditioning
from moalign.conditioning.unconditioned import Unconditioned
from moalign.policy import SteerablePolicy
from moalign.training.implicit_reward import ImplicitReward
from reward_heads import VectorReward

NAMES = ("helpful", "brief")


def make(tiny_base, conditioning=None, names=NAMES, **training):
    adapters = conditioning.adapters if conditioning else names
    lora = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    model = add_adapters(AutoModelForCausalLM.from_pretrained(tiny_base), dict.fromkeys(adapters, lora))
    tokenizer = AutoTokenizer.from_pretrained(tiny_base, padding_side="left")
    return SteerablePolicy(model, tokenizer, names, training=training, conditioning=conditioning)


@pytest.mark.parametrize("told", [False, True])
def test_each_reward_is_beta_times_the_log_ratio_of_its_vertex(tiny_base, told):
    policy = make(tiny_base, PromptConditioning(NAMES) if told else None)
    reward = ImplicitReward(policy, beta=0.5, batch_size=2)
    prompts, completions = ["a b", "c", "d e f"], [" g", " h i j", " k l"]
    got = reward.score(prompts, completions)
    assert isinstance(reward, VectorReward)
    reference = policy.log_probs(prompts, completions, None)
    for k, name in enumerate(NAMES):
        own = policy.log_probs(prompts, completions, f"{name}=1.0")
        assert_close(got[:, k], 0.5 * (own - reference), atol=1e-4, rtol=1e-4)
    assert got.abs().max() > 0.1


def test_a_text_that_is_answered_by_a_message_is_a_message(tiny_base):
    reward, said = ImplicitReward(make(tiny_base), beta=1.0), [{"role": "assistant", "content": "g h"}]
    asked = [{"role": "user", "content": "a b"}]
    assert_close(reward.score(["a b"], [said]), reward.score([asked], [said]))


def test_the_command_line_names_one_by_its_bundle(tiny_base, tmp_path):
    policy = make(tiny_base, beta=0.25)
    policy.save_pretrained(tmp_path / "dpo")
    reward = load_reward(f"implicit:{tmp_path / 'dpo'}")
    assert reward.objectives == NAMES
    assert_close(reward.score(["a"], [" b c"]), ImplicitReward(policy, 0.25).score(["a"], [" b c"]))
    with pytest.raises(InputError, match="is no bundle"):
        load_reward(f"implicit:{tmp_path}")


def test_refuses(tiny_base):
    with pytest.raises(InputError, match="beta must be positive, found None"):
        ImplicitReward(make(tiny_base))
    with pytest.raises(InputError, match="one preference between helpful, brief"):
        ImplicitReward(make(tiny_base, Unconditioned(NAMES)), beta=0.1)
    alone = ImplicitReward(make(tiny_base, Unconditioned(("helpful",)), ("helpful",)), beta=0.1)
    assert torch.isfinite(alone.score(["a"], [" b"])).all()
