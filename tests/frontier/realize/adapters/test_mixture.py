import copy
import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import PeftModel
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from frontier.errors import InputError
from frontier.realize.adapters import AdapterMixture, SteerableLinear

NAMES = ("helpful", "brief", "warm")
IDS = torch.tensor([[1, 5, 6, 7, 8], [1, 9, 10, 11, 12], [1, 13, 14, 15, 16]])


def load(base, adapters):
    model = AutoModelForCausalLM.from_pretrained(base)
    names = list(adapters)
    peft_model = PeftModel.from_pretrained(model, adapters[names[0]], adapter_name=names[0])
    for name in names[1:]:
        peft_model.load_adapter(adapters[name], adapter_name=name)
    return peft_model.eval()


@pytest.fixture(scope="module")
def mixture(tiny_base, plain_adapters):
    return AdapterMixture(load(tiny_base, plain_adapters), NAMES)


@pytest.fixture(scope="module")
def by_hand(tiny_base, plain_adapters):
    """Logits of a plain model whose weights were summed by hand from the adapter files."""
    import json

    from safetensors.torch import load_file

    base = AutoModelForCausalLM.from_pretrained(tiny_base).eval()

    def logits(weights, ids):
        model = copy.deepcopy(base)
        parameters = dict(model.named_parameters())
        for name, w in zip(NAMES, weights, strict=True):
            config = json.loads((plain_adapters[name] / "adapter_config.json").read_text())
            tensors = load_file(plain_adapters[name] / "adapter_model.safetensors")
            for key, down in tensors.items():
                if not key.endswith("lora_A.weight"):
                    continue
                up = tensors[key.replace("lora_A", "lora_B")]
                rank = down.shape[0]
                scaling = config["lora_alpha"] / (rank**0.5 if config["use_rslora"] else rank)
                path = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
                parameters[f"{path}.weight"].data += w * scaling * up @ down
        with torch.no_grad():
            return model(ids).logits

    return logits


@settings(deadline=None, max_examples=15)
@given(st.lists(st.lists(st.floats(-2, 2), min_size=3, max_size=3), min_size=3, max_size=3))
def test_every_row_is_the_hand_summed_model(mixture, by_hand, rows):
    weights = torch.tensor(rows, dtype=torch.float32)
    with torch.no_grad(), mixture.steer(weights):
        got = mixture.model(IDS).logits
    for i in range(3):
        assert_close(got[i : i + 1], by_hand(rows[i], IDS[i : i + 1]), atol=2e-4, rtol=1e-4)


def test_zero_weights_are_the_base_bit_for_bit(mixture, tiny_base):
    base = AutoModelForCausalLM.from_pretrained(tiny_base).eval()
    with torch.no_grad(), mixture.steer(torch.zeros(3)):
        assert torch.equal(mixture.model(IDS).logits, base(IDS).logits)


def test_one_weight_is_the_adapter_alone(mixture, tiny_base, plain_adapters):
    alone = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), plain_adapters["brief"]).eval()
    with torch.no_grad(), mixture.steer(torch.tensor([0.0, 1.0, 0.0])):
        assert_close(mixture.model(IDS).logits, alone(IDS).logits, atol=1e-5, rtol=1e-5)


def test_a_mixed_batch_equals_one_by_one(mixture):
    weights = torch.tensor([[0.7, 0.3, 0.0], [0.0, 0.0, 1.0], [-0.5, 1.0, 0.5]])
    with torch.no_grad():
        with mixture.steer(weights):
            together = mixture.model(IDS).logits
        for i in range(3):
            with mixture.steer(weights[i]):
                assert_close(together[i : i + 1], mixture.model(IDS[i : i + 1]).logits, atol=1e-5, rtol=1e-5)


def test_generate_repeats_rows_for_several_sequences_and_beams(mixture):
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    options = {"max_new_tokens": 6, "do_sample": False, "num_beams": 3, "num_return_sequences": 2, "pad_token_id": 0}
    mask = torch.ones_like(IDS)
    with mixture.steer(weights):
        together = mixture.model.generate(input_ids=IDS, attention_mask=mask, **options)
    for i in range(3):
        with mixture.steer(weights[i]):
            alone = mixture.model.generate(input_ids=IDS[i : i + 1], attention_mask=mask[i : i + 1], **options)
        width = alone.shape[1]
        assert torch.equal(together[2 * i : 2 * i + 2, :width], alone)


def test_generate_with_left_padding_and_a_cache_is_each_prompt_alone(mixture):
    weights = torch.tensor([[0.7, 0.3, 0.0], [-0.5, 1.0, 2.0], [0.0, 0.0, 0.0]])
    padded, mask = IDS.clone(), torch.ones_like(IDS)
    padded[1, :2] = mask[1, :2] = 0  # the second prompt is two tokens shorter
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    with mixture.steer(weights):
        together = mixture.model.generate(input_ids=padded, attention_mask=mask, **options)
    for i in range(3):
        alone = padded[i : i + 1, 2 if i == 1 else 0 :]
        with mixture.steer(weights[i]):
            for use_cache in (True, False):
                got = mixture.model.generate(
                    input_ids=alone, attention_mask=torch.ones_like(alone), use_cache=use_cache, **options
                )
                assert torch.equal(got[0, -6:], together[i, -6:])


def test_gradients_reach_every_adapter_scaled_by_its_weight(tiny_base, plain_adapters):
    mixture = AdapterMixture(load(tiny_base, plain_adapters), NAMES)
    mixture.train_adapters()

    def gradient(weights):
        mixture.model.zero_grad()
        with mixture.steer(torch.tensor(weights)):
            mixture.model(IDS, labels=IDS).loss.backward()
        return {name: sum(float(p.grad.norm()) for p in mixture.parameters(name)) for name in NAMES}

    assert all(g > 0 for g in gradient([0.2, 0.3, 0.5]).values())
    none_for_brief = gradient([0.5, 0.0, 0.5])
    assert none_for_brief["brief"] == 0
    assert none_for_brief["helpful"] > 0
    assert not any(p.requires_grad for n, p in mixture.model.named_parameters() if ".lora_" not in n)


def test_gradient_checkpointing_sees_the_weights_of_the_forward(tiny_base, plain_adapters):
    def gradients(checkpointing):
        mixture = AdapterMixture(load(tiny_base, plain_adapters), NAMES)
        mixture.train_adapters()
        mixture.model.train()
        for layer in mixture.layers.values():  # dropout would differ between the two runs
            layer.lora_dropout.eval()
        if checkpointing:
            mixture.model.enable_input_require_grads()
            mixture.model.gradient_checkpointing_enable(
                gradient_checkpointing_kwargs={"use_reentrant": False, "context_fn": mixture.checkpoint_context}
            )
        with mixture.steer(torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])):
            loss = mixture.model(IDS, labels=IDS).loss
        loss.backward()  # outside the context on purpose: as with an autograd thread of its own
        return [p.grad for p in mixture.parameters()]

    for plain, recomputed in zip(gradients(False), gradients(True), strict=True):
        assert_close(plain, recomputed)


def test_new_weights_take_effect_at_once_and_after_an_update(mixture):
    with torch.no_grad():
        with mixture.steer(torch.tensor([1.0, 0.0, 0.0])):
            before = mixture.model(IDS).logits
        with mixture.steer(torch.tensor([0.0, 1.0, 0.0])):
            assert not torch.allclose(before, mixture.model(IDS).logits)
        parameter = mixture.parameters("helpful")[1]
        parameter.add_(1.0)
        with mixture.steer(torch.tensor([1.0, 0.0, 0.0])):
            assert not torch.allclose(before, mixture.model(IDS).logits)
        parameter.sub_(1.0)


def test_threads_do_not_see_each_other(mixture):
    errors, barrier = [], threading.Barrier(2)

    def work(weights):
        with torch.no_grad(), mixture.steer(torch.tensor(weights)):
            alone = mixture.model(IDS).logits
            for _ in range(5):
                barrier.wait(timeout=60)
                if not torch.equal(alone, mixture.model(IDS).logits):
                    errors.append(weights)

    threads = [threading.Thread(target=work, args=(w,)) for w in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_contexts_nest(mixture):
    with torch.no_grad(), mixture.steer(torch.tensor([1.0, 0.0, 0.0])):
        outer = mixture.model(IDS).logits
        with mixture.steer(torch.tensor([0.0, 0.0, 1.0])):
            assert not torch.equal(outer, mixture.model(IDS).logits)
        assert torch.equal(outer, mixture.model(IDS).logits)


def test_dropout_gives_each_expert_its_own_mask_and_none_in_eval(tiny_base, plain_adapters):
    mixture = AdapterMixture(load(tiny_base, plain_adapters), NAMES)
    with torch.no_grad(), mixture.steer(torch.tensor([0.3, 0.3, 0.4])):
        quiet = mixture.model(IDS).logits
        assert torch.equal(quiet, mixture.model(IDS).logits)
        mixture.model.train()
        assert not torch.equal(quiet, mixture.model(IDS).logits)


@pytest.mark.parametrize("adapters", [torch.float32, torch.bfloat16])
def test_bfloat16_keeps_its_dtype_and_loses_no_more_than_the_base_does(tiny_base, plain_adapters, adapters):
    weights = torch.tensor([[0.7, 0.3, 0.5], [1.0, -1.0, 0.0], [0.0, 0.0, 2.0]])

    def logits(dtype):
        mixture = AdapterMixture(load(tiny_base, plain_adapters), NAMES)
        mixture.model.to(torch.bfloat16).to(dtype)  # the same rounded numbers
        if adapters == torch.float32:
            for parameter in mixture.parameters():
                parameter.data = parameter.data.float()
        with torch.no_grad():
            with mixture.steer(weights):
                steered = mixture.model(IDS).logits
            with mixture.steer(torch.zeros(3)):
                return steered, mixture.model(IDS).logits

    (low, low_base), (exact, exact_base) = logits(torch.bfloat16), logits(torch.float32)
    assert low.dtype == torch.bfloat16
    error, base_error = (float((a.float() - b).norm() / b.norm()) for a, b in ((low, exact), (low_base, exact_base)))
    assert error < 2 * base_error


def test_frozen_adapters_are_stacked_once_and_only_inside(mixture):
    weights = torch.tensor([[0.7, 0.3, 0.5], [1.0, -1.0, 0.0], [0.0, 0.0, 2.0]])
    parameter = mixture.parameters("helpful")[1]
    with torch.no_grad():
        with mixture.steer(weights):
            before = mixture.model(IDS).logits
        with mixture.frozen():
            with mixture.steer(weights):
                assert torch.equal(mixture.model(IDS).logits, before)
            parameter.add_(1.0)
            with mixture.steer(weights):
                assert torch.equal(mixture.model(IDS).logits, before)
        with mixture.steer(weights):
            assert not torch.allclose(mixture.model(IDS).logits, before)
        parameter.sub_(1.0)


def test_one_row_of_weights_serves_any_batch(mixture):
    with torch.no_grad(), mixture.steer(torch.tensor([[0.5, -1.0, 2.0]])):
        whole = mixture.model(IDS).logits
        assert_close(mixture.model(IDS[1:]).logits, whole[1:], atol=1e-5, rtol=1e-5)
    with torch.no_grad(), mixture.steer(torch.tensor([[0.5, -1.0, 2.0]] * 3)):
        assert_close(mixture.model(IDS).logits, whole, atol=1e-5, rtol=1e-5)


def test_gradients_reach_the_weights_themselves(mixture, by_hand):
    weights = torch.tensor([[0.5, -1.0, 2.0]] * 3, requires_grad=True)
    with mixture.steer(weights):
        mixture.model(IDS).logits.square().mean().backward()
    step = 1e-2
    for k in range(3):
        up, down = ([0.5, -1.0, 2.0] for _ in range(2))
        up[k] += step
        down[k] -= step
        slope = (by_hand(up, IDS).square().mean() - by_hand(down, IDS).square().mean()) / (2 * step)
        assert_close(weights.grad[:, k].sum(), slope, atol=1e-3, rtol=2e-2)


def test_unsteered_forward_is_refused_and_disabled_adapters_are_the_base(mixture):
    with pytest.raises(RuntimeError, match="no weights are set"):
        mixture.model(IDS)
    with torch.no_grad(), mixture.model.disable_adapter(), mixture.steer(torch.zeros(3)):
        mixture.model(IDS)


def test_merged_adapters_are_refused(tiny_base, plain_adapters):
    mixture = AdapterMixture(load(tiny_base, plain_adapters), NAMES)
    mixture.model.merge_adapter()
    with mixture.steer(torch.zeros(3)), pytest.raises(RuntimeError, match="merged"):
        mixture.model(IDS)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.zeros(2), r"must be \[B, 3\]"),
        (torch.zeros(1, 1, 3), r"must be \[B, 3\]"),
        (torch.tensor([0.0, float("nan"), 0.0]), "finite"),
    ],
)
def test_refuses_bad_weights(mixture, weights, message):
    with pytest.raises(ValueError, match=message), mixture.steer(weights):
        pass


def test_refuses_a_batch_that_is_no_multiple(mixture):
    with mixture.steer(torch.zeros(2, 3)), pytest.raises(ValueError, match="no multiple of the 2 rows"):
        mixture.model(IDS)


def test_refuses_an_adapter_that_is_not_there(mixture):
    with pytest.raises(InputError, match="no adapter 'polite': it has helpful, brief, warm"):
        AdapterMixture(mixture.model, ["polite"])


def stacks(mixture):
    return [layer.frozen for layer in mixture.layers.values() if isinstance(layer, SteerableLinear)]


def test_frozen_adapters_stay_so_until_the_last_that_asked(mixture):
    """Contexts of several threads need not end in the reverse order of their starts."""
    first, second = mixture.frozen(), mixture.frozen()
    first.__enter__()
    held = stacks(mixture)
    second.__enter__()
    first.__exit__(None, None, None)
    assert all(a is b for a, b in zip(held, stacks(mixture), strict=True))
    assert held[0] is not None
    second.__exit__(None, None, None)
    assert set(stacks(mixture)) == {None}


def test_no_adapter_is_frozen_where_a_stack_fails(mixture, monkeypatch):
    last = [layer for layer in mixture.layers.values() if isinstance(layer, SteerableLinear)][-1]

    def fails(names):
        raise MemoryError

    monkeypatch.setattr(last, "stack", fails, raising=False)
    with pytest.raises(MemoryError), mixture.frozen():
        pass
    assert set(stacks(mixture)) == {None}
    monkeypatch.undo()
    with mixture.frozen():
        assert None not in stacks(mixture)
