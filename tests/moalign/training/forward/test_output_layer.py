import warnings

import pytest
import torch
from safetensors.torch import load_file
from torch.func import functional_call
from torch.testing import assert_close
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, MixtralConfig, MixtralForCausalLM

from frontier.errors import InputError
from frontier.realize.adapters import SteerableLinear
from moalign.methods.clp import CLPTrainer
from moalign.policy import SteerablePolicy
from moalign.training.forward.output_layer import (
    full_log_probs,
    has_adapter_on_output_layer,
    hidden_adapter_on_output_layer,
    token_positions,
)

BASES = pytest.mark.parametrize("base", ["tiny_base", "untied_base"])


def dense_weights(policy, weights):
    """W0 + Σ_k m_k s_k B_k A_k of every adapted layer, by hand, for one row of the adapters' weights."""
    dense = {}
    for path, layer in policy.mixture.layers.items():
        total = layer.base_layer.weight.detach()
        for name, weight in zip(policy.mixture.names, weights, strict=True):
            if name in layer.lora_A:
                total = total + weight * layer.scaling[name] * layer.lora_B[name].weight @ layer.lora_A[name].weight
        dense[f"{path}.weight"] = total
    return dense


def dense_log_probs(plain, dense, prompt_ids, completion_ids, temperature=1.0):
    """Σ log π of one completion through a plain model's full logits."""
    ids = torch.tensor([[*prompt_ids, *completion_ids]])
    # Tied weights are two entries here: an adapter on the output layer leaves the input embedding as it is.
    given = dict(plain.state_dict()) | dense
    logits = functional_call(plain, given, kwargs={"input_ids": ids}, tie_weights=False).logits[0]
    log_probs = (logits / temperature).log_softmax(-1)
    return sum(log_probs[len(prompt_ids) + i - 1, token] for i, token in enumerate(completion_ids))


def test_log_probs_and_entropies_by_hand(tiny_base):
    model = AutoModelForCausalLM.from_pretrained(tiny_base).eval()
    ids, mask = (
        torch.tensor([[0, 0, 5, 6, 7, 8], [1, 9, 10, 11, 2, 0]]),
        torch.tensor([[0, 0, 1, 1, 1, 1], [1] * 5 + [0]]),
    )
    got, entropies = full_log_probs(model, ids, mask, 3, temperature=0.7)
    with torch.no_grad():
        for row in range(2):
            keep = mask[row].bool()
            logits = model(ids[row][keep].unsqueeze(0)).logits[0] / 0.7
            probabilities = logits.softmax(-1)
            offset = int((~keep[:3]).sum())
            for j, position in enumerate(range(3, 6)):
                if keep[position]:
                    at = position - offset - 1
                    assert_close(got[row, j], probabilities[at, ids[row, position]].log(), atol=1e-5, rtol=1e-5)
                    entropy = -(probabilities[at] * probabilities[at].log()).sum()
                    assert_close(entropies[row, j], entropy, atol=1e-5, rtol=1e-5)
    assert got.requires_grad
    assert not entropies.requires_grad


def test_it_is_trls_fused_path_where_that_one_is_right(quick, tiny_base, tmp_path):
    trainer = CLPTrainer(
        quick.policy(tiny_base),
        quick.reward,
        quick.settings(tmp_path, temperature=0.8, share_prompts=False),
        quick.prompts,
    )
    assert not has_adapter_on_output_layer(trainer.policy)
    ids, mask = torch.tensor([[0, 5, 6, 7, 8], [9, 10, 11, 12, 2]]), torch.tensor([[0, 1, 1, 1, 1], [1] * 5])
    weights = torch.tensor([[0.7, 0.3], [0.0, 1.0]])
    with trainer.policy.steer_rows(weights), torch.no_grad():
        fused, entropies, _ = trainer._log_probs(trainer.model, ids, mask, 3, weights, compute_entropy=True)
        full, full_entropies = full_log_probs(trainer.model, ids, mask, 3, 0.8)
    assert_close(fused, full, atol=1e-5, rtol=1e-5)
    assert_close(entropies, full_entropies, atol=1e-5, rtol=1e-5)


@BASES
def test_one_update_is_the_one_computed_from_full_logits(quick, base, tmp_path, request):
    """Rollout, advantages, loss and gradient by hand, on a plain model whose weights are W0 + Σ w_k s_k B_k A_k."""
    folder = request.getfixturevalue(base)
    policy = quick.policy(folder, conditioned="logits")
    config = quick.settings(tmp_path, conditioned="logits", beta=0.3, max_steps=1, **quick.sgd)
    trainer = CLPTrainer(policy, quick.reward, config, quick.prompts)
    seen = {}
    original = trainer._calculate_rewards

    def spy(inputs, prompts, completions, ids):
        seen.update(weights=trainer._rows().weights, prompts=trainer._rows().prompts, texts=completions, ids=ids)
        return original(inputs, prompts, completions, ids)

    trainer._calculate_rewards = spy
    start = quick.parameters(trainer)
    trainer.train()
    end = quick.parameters(trainer)
    named = dict(trainer.model.named_parameters())
    for name, value in start.items():  # back to where the update began
        named[name].data.copy_(value)

    plain = AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)
    prompt_ids = policy.encode(seen["prompts"])
    own = torch.stack(
        [
            dense_log_probs(plain, dense_weights(policy, [*w, sum(w)]), p, c)
            for w, p, c in zip(seen["weights"].tolist(), prompt_ids, seen["ids"], strict=True)
        ]
    )
    reference = torch.stack([dense_log_probs(plain, {}, p, c) for p, c in zip(prompt_ids, seen["ids"], strict=True)])
    assert (own - reference).abs().max() > 0.1
    rewards = quick.reward.score(seen["prompts"], seen["texts"])
    value = (seen["weights"] * rewards).sum(1) - 0.3 * (own - reference).detach()
    groups = value.view(2, 4)
    advantages = (groups - (groups.sum(1, keepdim=True) - groups) / 3).flatten()
    loss = -(advantages * own).mean()
    names = list(start)
    gradients = torch.autograd.grad(loss, [named[name] for name in names])
    for name, gradient in zip(names, gradients, strict=True):
        assert_close(end[name], start[name] - 0.05 * gradient, atol=1e-5, rtol=1e-4)
    moved = {name.split(".")[-2] for name in names if (end[name] - start[name]).abs().max() > 1e-4}
    assert moved == {"helpful", "brief", "shared"}


@BASES
def test_checkpoints_hold_adapters_alone_and_resume(quick, base, tmp_path, request):
    options = {"conditioned": "logits", "save_strategy": "steps", "save_steps": 1}

    def trainer(name):
        config = quick.settings(tmp_path / name, **options)
        return CLPTrainer(str(request.getfixturevalue(base)), quick.reward, config, quick.prompts)

    whole, half = trainer("whole"), trainer("half")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        whole.train()
    assert not [w for w in caught if "embedding" in str(w.message)]
    checkpoint = tmp_path / "whole" / "checkpoint-1"
    for name in ("helpful", "brief", "shared"):
        assert all(".lora_" in key for key in load_file(checkpoint / name / "adapter_model.safetensors"))
    half.train(resume_from_checkpoint=str(checkpoint))
    for name, value in quick.parameters(whole).items():
        assert torch.equal(value, quick.parameters(half)[name]), name
    assert SteerablePolicy.from_pretrained(tmp_path / "whole" / "checkpoint-2").conditioning.adapters[-1] == "shared"


def test_the_output_layer_is_hidden_only_for_a_while(quick, tiny_base):
    policy = quick.policy(tiny_base, conditioned="logits")
    assert has_adapter_on_output_layer(policy)
    with hidden_adapter_on_output_layer(policy):
        assert not isinstance(policy.model.get_output_embeddings(), SteerableLinear)
    assert has_adapter_on_output_layer(policy)


def test_load_balancing_losses_are_refused(quick, tokenizer, tmp_path):
    config = MixtralConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=2, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    MixtralForCausalLM(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    for options in (
        {"lora_target_modules": "output"},
        {"lora_target_modules": "q_proj", "gradient_aggregation": "Sum"},
    ):
        with pytest.raises(InputError, match="set router_aux_loss_coef to 0"):
            CLPTrainer(str(tmp_path / "base"), quick.reward, quick.settings(tmp_path, **options), quick.prompts)
    quiet = quick.settings(tmp_path, max_steps=1, lora_target_modules="output", router_aux_loss_coef=0.0)
    CLPTrainer(str(tmp_path / "base"), quick.reward, quiet, quick.prompts).train()


@pytest.fixture
def places():
    """A small GPT-2: one learned vector for each place of the text."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.5)
    return GPT2LMHeadModel(config).eval()


def test_padding_on_the_left_moves_no_token(places):
    text, pads = torch.tensor([[5, 6, 7, 8]]), torch.zeros(1, 5, dtype=torch.long)
    ids, mask = torch.cat([pads, text], 1), torch.cat([pads, torch.ones_like(text)], 1)
    alone, _ = full_log_probs(places, text, torch.ones_like(text), 3, 1.0)
    padded, _ = full_log_probs(places, ids, mask, 3, 1.0)
    assert_close(padded, alone, atol=1e-5, rtol=1e-5)
    assert token_positions(mask).tolist() == [[0] * 6 + [1, 2, 3]]


def test_trls_fused_path_counts_no_padding(places, quick, tokenizer, tmp_path):
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=64, initializer_range=0.5
    )
    torch.manual_seed(0)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    settings = quick.settings(tmp_path, lora_target_modules="c_attn", share_prompts=False)
    trainer = CLPTrainer(str(tmp_path / "base"), quick.reward, settings, quick.prompts)
    ids, mask = torch.tensor([[0, 0, 0, 6, 7, 8], [9, 10, 11, 12, 5, 6]]), torch.tensor([[0, 0, 0, 1, 1, 1], [1] * 6])
    weights = torch.tensor([[0.7, 0.3]])
    with trainer.policy.steer_rows(weights), torch.no_grad():
        fused, _, _ = trainer._log_probs(trainer.model, ids, mask, 2, weights)
        alone, _ = full_log_probs(trainer.model, ids[:1, 3:], mask[:1, 3:], 2, trainer.temperature)
    assert_close(fused[:1], alone, atol=1e-5, rtol=1e-5)
    assert not trainer.policy.model._forward_pre_hooks
