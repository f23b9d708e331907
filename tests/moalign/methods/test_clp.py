import dataclasses
import json

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from frontier.errors import InputError
from moalign.methods.clp import CLPTrainer
from moalign.policy import SteerablePolicy

IDS = torch.tensor([[1, 5, 6, 7, 8], [1, 9, 10, 11, 12]])
VARIANTS = ["full", "attention", "logits"]


def logits(policy, preference):
    with policy.steer(preference) as model, torch.no_grad():
        return model(IDS).logits


def layers(policy, adapter):
    return {path for path, layer in policy.mixture.layers.items() if adapter in layer.lora_A}


@pytest.mark.parametrize(
    ("variant", "own", "shared"),
    [
        ("full", "all-linear", None),
        ("attention", "attention", "not-attention"),
        ("logits", "output", "all-linear"),
    ],
)
def test_what_is_conditioned_says_where_the_adapters_go(quick, tmp_path, variant, own, shared):
    config = quick.settings(tmp_path, conditioned=variant)
    assert (config.lora_target_modules, config.shared_target_modules) == (own, shared)
    again = dataclasses.replace(config, max_steps=7, generation_batch_size=None)  # as soups make theirs
    assert (again.lora_target_modules, again.shared_target_modules) == (own, shared)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"conditioned": "logit"}, "unknown part to be conditioned 'logit': did you mean 'logits'"),
        (
            {"conditioned": "attention", "lora_target_modules": "q_proj"},
            "sets lora_target_modules to attention, found q_proj",
        ),
        ({"conditioned": "logits", "shared_target_modules": "attention"}, "sets shared_target_modules to all-linear"),
        ({"shared_target_modules": "not-attention"}, "conditioned full has no shared adapter"),
        ({"conditioned": "logits", "conditioning": "prompt"}, "conditioning prompt has one adapter"),
        ({"kl_mixing": True, "beta": 0.0}, "beta 0 leaves the KL term out"),
    ],
)
def test_contradictions_are_refused(quick, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        quick.settings(tmp_path, **options)


def test_each_variant_touches_its_own_layers(quick, tiny_base):
    full, attention, head = (quick.policy(tiny_base, conditioned=variant) for variant in VARIANTS)
    linear = layers(full, "helpful")
    assert len(linear) == 14
    assert layers(full, "brief") == linear
    assert full.conditioning.adapters == ("helpful", "brief")
    own, shared = layers(attention, "helpful"), layers(attention, "shared")
    assert own == layers(attention, "brief") == {path for path in linear if "self_attn" in path}
    assert shared == {path for path in linear if "mlp" in path}
    assert layers(head, "helpful") == layers(head, "brief") == {"lm_head"}
    assert layers(head, "shared") == linear


@pytest.mark.parametrize("base", ["tiny_base", "untied_base"])
def test_logits_are_mixed_exactly(quick, base, request):
    policy = quick.policy(request.getfixturevalue(base), conditioned="logits")
    helpful, brief = logits(policy, "helpful=1.0"), logits(policy, "brief=1.0")
    assert (helpful - brief).abs().max() > 0.1
    for w in (0.25, 0.5, 0.9):
        mixed = logits(policy, {"helpful": w, "brief": 1 - w})
        assert_close(mixed, w * helpful + (1 - w) * brief, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("base", ["tiny_base", "untied_base"])
def test_a_vertex_is_its_single_head_on_the_shared_trunk(quick, base, request):
    policy = quick.policy(request.getfixturevalue(base), conditioned="logits")
    head = policy.base.get_output_embeddings()
    with policy.steer("brief=1.0") as model, torch.no_grad():
        hidden = model.get_base_model().model(IDS).last_hidden_state
        delta = head.scaling["brief"] * head.lora_B["brief"].weight @ head.lora_A["brief"].weight
        assert_close(model(IDS).logits, functional.linear(hidden, head.base_layer.weight + delta), atol=2e-5, rtol=1e-5)


def test_attention_experts_share_what_they_do_not_own(quick, tiny_base):
    """W(w) = W0 + Σ w_k Δ_k on attention layers, W0 + Δ_shared elsewhere, for every w on the simplex; nothing at the reference."""
    policy = quick.policy(tiny_base, conditioned="attention")
    weights = policy.weights(["helpful=1.0", "helpful=0.3,brief=0.7", None], 3)
    assert policy.conditioning.mixing(weights).tolist() == [
        [1, 0, 1],
        [pytest.approx(0.3), pytest.approx(0.7), pytest.approx(1)],
        [0, 0, 0],
    ]
    assert_close(
        policy.conditioning.mixing(0.5 * weights)[1], torch.tensor([0.15, 0.35, 0.5])
    )  # KL-mixing scales it too


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_train_every_adapter_and_leave_a_bundle(quick, tiny_base, tmp_path, variant):
    config = quick.settings(tmp_path, conditioned=variant, kl_mixing=variant == "logits")
    trainer = CLPTrainer(str(tiny_base), quick.reward, config, quick.prompts)
    before = quick.parameters(trainer)
    trainer.train()
    trainer.save_model()
    after = quick.parameters(trainer)
    for adapter in trainer.policy.conditioning.adapters:
        ups = [n for n in after if f".lora_B.{adapter}." in n]
        assert ups
        assert all(not torch.equal(before[n], after[n]) for n in ups), adapter
    assert {n for n, p in trainer.model.named_parameters() if p.requires_grad} == set(after)
    policy = SteerablePolicy.from_pretrained(tmp_path)
    assert policy.training["conditioned"] == variant
    for preference in ("helpful=1.0", "helpful=0.4,brief=0.6"):
        options = {"max_new_tokens": 6, "do_sample": False}
        assert policy.generate(["a b"], preference, **options) == trainer.policy.generate(
            ["a b"], preference, **options
        )
        assert torch.equal(logits(policy, preference), logits(trainer.policy, preference))
    steer = json.loads((tmp_path / "steer.json").read_text())
    assert steer["conditioning"].get("shared", False) == (variant != "full")
    assert {name.split("/")[0] for name in steer["files"]} == set(policy.conditioning.adapters)


def test_a_policy_without_a_shared_adapter_is_not_trained_as_one_that_has_it(quick, tiny_base, tmp_path):
    policy = quick.policy(tiny_base)
    with pytest.raises(InputError, match="ask for a shared adapter, but the policy to train further has none"):
        CLPTrainer(policy, quick.reward, quick.settings(tmp_path, conditioned="attention"), quick.prompts)
