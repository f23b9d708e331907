import pytest
import torch
from peft import LoraConfig
from torch.testing import assert_close
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    MptConfig,
    Qwen2Config,
)

from frontier.errors import InputError
from moalign.conditioning.adapter_mixture import add_adapters
from moalign.policy import SteerablePolicy
from moalign.training.forward.forward_plan import ForwardPlan, attention_window, forward_plan
from moalign.training.forward.prompt_rows import PromptRow, lay_out
from moalign.training.forward.shared_prompts import shared_log_probs
from moalign.training.pairs import completion_log_probs

SIZE = {
    "vocab_size": 60,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "initializer_range": 0.2,
}
GPT = {"vocab_size": 60, "n_layer": 2, "n_head": 4, "initializer_range": 0.2}
MIXED = {"head_dim": 8, "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
# Each with what is possible: a fused head, shared prompts, attention by spans.
MODELS = {
    "llama": (LlamaConfig(**SIZE), True, True, True),
    "llama_eager": (LlamaConfig(**SIZE, attn_implementation="eager"), True, True, False),
    "qwen2": (Qwen2Config(**SIZE), True, True, True),
    "mistral": (MistralConfig(**SIZE, sliding_window=6), True, True, True),
    "gemma3": (Gemma3TextConfig(**SIZE, **MIXED), True, True, True),
    "gemma2": (Gemma2Config(**SIZE, **MIXED), False, True, False),  # final_logit_softcapping
    "granite": (GraniteConfig(**SIZE, logits_scaling=3.0), False, True, True),
    "gpt2": (GPT2Config(**GPT, n_embd=32), True, True, True),
    "mpt": (
        MptConfig(vocab_size=60, d_model=32, n_layers=2, n_heads=4, initializer_range=0.2),
        True,
        False,
        False,
    ),  # as well
    "bloom": (BloomConfig(**GPT, hidden_size=32), True, False, False),  # positions are in its own masks
}
PROMPTS = [[4, 9, 33, 7], [5], [41, 8, 8, 17, 30, 6, 9, 11, 28]]
COMPLETIONS = [[[3, 5, 7], [20, 21, 22, 23, 24, 25, 26]], [[50, 2]], [[9, 9, 10, 12, 2], [], [44]]]
WEIGHTS = torch.tensor([[0.3, 0.7], [1.0, 0.0], [0.0, 0.0]])


class Tokenizer:
    pad_token_id, eos_token_id = 0, 2


def make(config, targets="all-linear", **options):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    lora = LoraConfig(r=2, target_modules=targets, init_lora_weights=False, **options)
    policy = SteerablePolicy(add_adapters(model, {"a": lora, "b": lora}), Tokenizer(), ("a", "b"))
    policy.model.eval()
    return policy


def one_by_one(policy, prompts=PROMPTS, completions=COMPLETIONS, weights=WEIGHTS):
    """Whole completions, each alone and without padding."""
    return torch.cat(
        [
            completion_log_probs(policy.model, policy, [prompt], [c], w[None]) if c else torch.zeros(1)
            for prompt, some, w in zip(prompts, completions, weights, strict=True)
            for c in some
        ]
    )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_completions_have_the_log_probs_that_they_have_alone(name):
    config, fused, shared, spans = MODELS[name]
    policy = make(config)
    with torch.no_grad():
        expected = one_by_one(policy)
    short, long = forward_plan(policy, 5), forward_plan(policy, 16)
    assert short == ForwardPlan(fused, shared, spans)
    assert long == ForwardPlan(fused, shared, spans and attention_window(policy) is None)
    counted = {}
    for options in ({}, {"share": False}, {"split": False}):
        got = shared_log_probs(policy.model, policy, PROMPTS, COMPLETIONS, WEIGHTS, **options)
        assert_close(got.sums(), expected, atol=1e-5, rtol=1e-5)
        assert got.values.dtype == torch.float32
        counted[tuple(options)] = got.computed - got.padding
    assert counted[("share",)] == 3 * 4 - 4 + 10 + 3 + 27 + 6 + 0  # each completion with its prompt
    assert counted[()] == (14 + 3 + 15 if shared else counted[("share",)])


@pytest.mark.parametrize("name", ["gemma2", "mpt", "mistral", "gpt2"])
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_rounding_hides_nothing_that_a_model_does(name, autocast):
    """A capped logit or a position of its own changes less here than half precision may."""
    config, fused, shared, spans = MODELS[name]
    policy = make(config)
    if not autocast:
        policy.base.to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert forward_plan(policy, 5) == ForwardPlan(fused, shared, spans)
        assert forward_plan(policy, 16).shared == shared


def test_processes_try_the_same_forwards_whatever_their_texts(monkeypatch):
    """Where weights are shared, one that tries more than another would wait for ever."""
    monkeypatch.setattr("moalign.training.forward.forward_plan.processes", lambda: 2)

    def tried(*longest):
        policy, calls = make(MODELS["mistral"][0]), []
        policy.model.register_forward_hook(lambda *_: calls.append(None))
        for each in longest:
            forward_plan(policy, each)
        return len(calls)

    assert tried(5) == tried(16) == tried(5, 16) > 0


def test_gradients_reach_every_adapter_as_they_do_one_by_one():
    policy = make(MODELS["llama"][0])
    policy.mixture.train_adapters()
    upstream = torch.tensor([1.0, -2.0, 0.5, 3.0, 0.0, -1.0])
    one_by_one(policy).mul(upstream).sum().backward()
    expected = [p.grad.clone() for p in policy.mixture.parameters()]
    policy.model.zero_grad()
    shared_log_probs(policy.model, policy, PROMPTS, COMPLETIONS, WEIGHTS).sums().mul(upstream).sum().backward()
    assert max(g.abs().max() for g in expected) > 0.1
    for p, gradient in zip(policy.mixture.parameters(), expected, strict=True):
        assert_close(p.grad, gradient, atol=1e-4, rtol=1e-4)


def test_recomputed_activations_see_their_own_rows():
    policy = make(MODELS["llama"][0])
    policy.mixture.train_adapters()

    def gradients():
        policy.model.zero_grad()
        shared_log_probs(policy.model, policy, PROMPTS, COMPLETIONS, WEIGHTS).values.sum().backward()
        return [p.grad.clone() for p in policy.mixture.parameters()]

    policy.model.train()
    expected = gradients()
    options = {"use_reentrant": False, "context_fn": policy.mixture.checkpoint_context}
    policy.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    for got, its in zip(gradients(), expected, strict=True):
        assert_close(got, its, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", [{"targets": ["q_proj", "lm_head"]}, {"modules_to_save": ["lm_head"]}])
def test_an_output_layer_that_is_trained_keeps_its_own_forward(options):
    policy = make(LlamaConfig(**SIZE, tie_word_embeddings=False), **options)
    policy.mixture.train_adapters()
    assert forward_plan(policy, 5) == ForwardPlan(False, True, True)
    got = shared_log_probs(policy.model, policy, PROMPTS, COMPLETIONS, WEIGHTS)
    assert_close(got.sums(), one_by_one(policy), atol=1e-5, rtol=1e-5)
    got.values.sum().backward()
    assert all(p.grad is not None for p in policy.mixture.parameters())


def test_a_text_without_prompt_has_no_prediction_of_its_first_token():
    policy = make(MODELS["llama"][0])
    with torch.no_grad():
        got = shared_log_probs(policy.model, policy, [[], [4]], [[[7, 8, 9], [5, 6]], [[8, 9]]], WEIGHTS[:2])
        alone = shared_log_probs(policy.model, policy, [[7], [5]], [[[8, 9]], [[6]]], WEIGHTS[[0, 0]])
    assert got.values[0] == got.values[3] == 0
    assert_close(got.values[[1, 2, 4]], alone.values, atol=1e-5, rtol=1e-5)


def test_temperature_and_entropies_and_the_two_forms():
    policy = make(MODELS["llama"][0])
    got = shared_log_probs(policy.model, policy, PROMPTS, COMPLETIONS, WEIGHTS, temperature=0.5, entropies=True)
    with torch.no_grad(), policy.steer_rows(WEIGHTS[:1]):
        logits = policy.model(torch.tensor([PROMPTS[0] + COMPLETIONS[0][0]])).logits[0, 3:6] / 0.5
    expected = logits.log_softmax(-1)[range(3), COMPLETIONS[0][0]]
    assert_close(got.values[:3].detach(), expected, atol=1e-5, rtol=1e-5)
    assert_close(got.entropies[:3], torch.distributions.Categorical(logits=logits).entropy(), atol=1e-5, rtol=1e-5)
    assert got.lengths.tolist() == [3, 7, 2, 5, 0, 1]
    padded, mask = got.padded()
    assert padded.shape == mask.shape == (6, 7)
    assert mask.sum(1).tolist() == got.lengths.tolist()
    assert_close(padded.sum(1), got.sums())
    assert_close(padded[1], got.values[3:10])
    assert got.padded(9)[0].shape == (6, 9)
    assert got.padded(7, got.entropies)[0][0, 0] == got.entropies[0]
    with pytest.raises(InputError, match="length must be at least 7"):
        got.padded(6)


def test_short_and_long_records_do_not_pad_each_other():
    policy = make(MODELS["llama"][0])
    long, short = list(range(3, 53)) * 8, [4, 5]
    prompts, completions = [short, long, short, long], [[[6], [7]]] * 4
    got = shared_log_probs(policy.model, policy, prompts, completions, torch.ones(1, 2))
    assert (got.computed, got.padding) == (2 * 402 + 2 * 4, 0)
    one = shared_log_probs(policy.model, policy, prompts, completions, torch.ones(1, 2), split=False)
    assert one.padding == 2 * 398
    assert_close(got.values, one.values, atol=1e-5, rtol=1e-5)


def test_the_mask_by_hand():
    layout = lay_out([PromptRow(0, [9, 9], [[1], [2, 3]], 0), PromptRow(1, [9], [[4]], 2)], 0, torch.device("cpu"))
    assert layout.ids.tolist() == [[9, 9, 1, 2, 3], [9, 4, 0, 0, 0]]
    assert layout.positions[0].tolist() == [0, 1, 2, 2, 3]
    rows = ["10000", "11000", "11100", "11010", "11011"]
    assert layout.mask()[0, 0].long().tolist() == [[int(c) for c in row] for row in rows]
    narrow = ["10000", "11000", "01100", "01010", "00011"]  # itself and one before it, by position
    assert layout.mask(2)[0, 0].long().tolist() == [[int(c) for c in row] for row in narrow]
    wanted = layout.wanted
    assert list(zip(wanted.rows.tolist(), wanted.places.tolist(), wanted.targets.tolist(), strict=True)) == [
        (0, 1, 1),
        (0, 1, 2),
        (0, 3, 3),
        (1, 0, 4),
    ]


def test_windows_are_read_off_the_configuration():
    assert attention_window(make(MODELS["llama"][0])) is None
    assert attention_window(make(MODELS["qwen2"][0])) is None
    assert attention_window(make(MODELS["mistral"][0])) == 6


def test_the_model_is_left_as_it_was():
    policy = make(MODELS["llama"][0])
    policy.model.train()
    shared_log_probs(policy.model, policy, PROMPTS, COMPLETIONS, WEIGHTS)
    assert policy.model.training
    assert "forward" not in vars(policy.base.get_output_embeddings())


def test_refuses():
    policy = make(MODELS["llama"][0])
    with pytest.raises(InputError, match="3 prompts for 2 lists"):
        shared_log_probs(policy.model, policy, PROMPTS, COMPLETIONS[:2], WEIGHTS)
    with pytest.raises(InputError, match=r"weights must be \[3, K\] or \[1, K\], found \[2, 2\]"):
        shared_log_probs(policy.model, policy, PROMPTS, COMPLETIONS, WEIGHTS[:2])
    with pytest.raises(InputError, match="prompt 1 has no completions"):
        shared_log_probs(policy.model, policy, PROMPTS, [[[1]], [], [[1]]], WEIGHTS)
