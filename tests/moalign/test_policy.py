import json
import shutil

import pytest
import torch
from peft import PeftModel
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from frontier.errors import InputError
from moalign.bundle import read_manifest
from moalign.policy import SteerablePolicy
from moalign.preference import Preference

PROMPTS = ["a b c", "good day ? yes", "x"]
COMPLETIONS = ["d e f", "no", "y z . ! a b"]
GREEDY = {"max_new_tokens": 8, "do_sample": False}


@pytest.fixture(scope="module")
def policy(tiny_base, plain_adapters):
    return SteerablePolicy.from_pretrained(tiny_base, adapters=plain_adapters)


@pytest.fixture
def bundle(policy, tmp_path, tiny_base):
    shutil.copytree(tiny_base, tmp_path / "base")
    policy.model.get_base_model().config.name_or_path = str(tmp_path / "base")
    policy.save_pretrained(tmp_path / "bundle")
    return tmp_path / "bundle"


FIVE = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5], [0.5, 0.5, 0.0], [1 / 3, 1 / 3, 1 / 3]]


@pytest.mark.parametrize("weights", FIVE)
def test_log_probs_are_those_of_weights_summed_by_hand(policy, tiny_base, plain_adapters, weights):
    from safetensors.torch import load_file

    model = AutoModelForCausalLM.from_pretrained(tiny_base).eval()
    parameters = dict(model.named_parameters())
    for (_name, folder), w in zip(plain_adapters.items(), weights, strict=True):
        tensors = load_file(folder / "adapter_model.safetensors")
        config = json.loads((folder / "adapter_config.json").read_text())
        for key in [k for k in tensors if "lora_A" in k]:
            down, up = tensors[key], tensors[key.replace("lora_A", "lora_B")]
            scaling = config["lora_alpha"] / (len(down) ** 0.5 if config["use_rslora"] else len(down))
            path = key.removeprefix("base_model.model.").replace(".lora_A", "")
            parameters[path].data += w * scaling * (up.double() @ down.double()).float()
    expected = []
    for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True):
        start = policy.tokenizer(prompt)["input_ids"]
        end = [*policy.tokenizer(completion)["input_ids"], policy.tokenizer.eos_token_id]
        with torch.no_grad():
            log_probs = model(torch.tensor([start + end])).logits.log_softmax(-1)[0]
        expected.append(sum(float(log_probs[len(start) + i - 1, token]) for i, token in enumerate(end)))
    preference = Preference(dict(zip(policy.objectives, weights, strict=True)))
    assert_close(policy.log_probs(PROMPTS, COMPLETIONS, preference), torch.tensor(expected), atol=1e-5, rtol=1e-6)


def test_one_preference_per_row_is_each_alone(policy):
    preferences = ["helpful=1.0", {"brief": 0.5, "warm": 0.5}, None]
    together = policy.generate(PROMPTS, preferences, **GREEDY)
    alone = [policy.generate([p], w, **GREEDY)[0] for p, w in zip(PROMPTS, preferences, strict=True)]
    assert together == alone
    assert len(set(policy.generate([PROMPTS[0]] * 3, ["helpful=1.0", "brief=1.0", "warm=1.0"], **GREEDY))) > 1
    scores = policy.log_probs(PROMPTS, COMPLETIONS, preferences)
    for i in range(3):
        assert_close(
            scores[i : i + 1], policy.log_probs([PROMPTS[i]], [COMPLETIONS[i]], preferences[i]), atol=1e-5, rtol=1e-6
        )


def test_none_is_the_reference_policy(policy, tiny_base):
    base = AutoModelForCausalLM.from_pretrained(tiny_base).eval()
    ids = torch.tensor([policy.tokenizer(PROMPTS[0])["input_ids"]])
    with policy.steer(None) as model, torch.no_grad():
        assert torch.equal(model(ids).logits, base(ids).logits)


def test_strength_scales_the_mixture(policy):
    assert policy.weights("helpful=1.0", 2, strength=0.25).tolist() == [[0.25, 0, 0]] * 2
    assert policy.weights(["helpful=1.0", None], 2, strength=[0.5, 1.0]).tolist() == [[0.5, 0, 0], [0, 0, 0]]


def test_sampling_is_repeatable_and_leaves_the_global_state_alone(policy):
    options = {"max_new_tokens": 8, "do_sample": True}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one = policy.generate(PROMPTS, "warm=1.0", seed=3, **options)
    assert torch.equal(torch.rand(1), expected)
    assert policy.generate(PROMPTS, "warm=1.0", seed=3, **options) == one
    assert policy.generate(PROMPTS, "warm=1.0", seed=4, **options) != one


def test_several_sequences_come_in_a_row(policy):
    texts = policy.generate(PROMPTS[:2], ["helpful=1.0", "brief=1.0"], num_beams=2, num_return_sequences=2, **GREEDY)
    assert len(texts) == 4
    assert texts[2:] == policy.generate(PROMPTS[1:2], "brief=1.0", num_beams=2, num_return_sequences=2, **GREEDY)


def test_conversations_go_through_the_chat_template(policy):
    conversation = [{"role": "user", "content": "a b"}]
    assert policy.encode([conversation]) == policy.encode(["user a b"])
    assert isinstance(policy.generate([conversation], "warm=1.0", **GREEDY)[0], str)


def test_bundle_round_trip(policy, bundle):
    again = SteerablePolicy.from_pretrained(bundle)
    assert again.objectives == policy.objectives
    weights = "helpful=0.2,brief=0.3,warm=0.5"
    assert torch.equal(again.log_probs(PROMPTS, COMPLETIONS, weights), policy.log_probs(PROMPTS, COMPLETIONS, weights))
    assert sorted(p.name for p in bundle.iterdir()) == ["README.md", "brief", "helpful", "steer.json", "warm"]
    assert read_manifest(bundle).base.name_or_path == "../base"
    assert "library_name: moalign" in (bundle / "README.md").read_text()


def test_bundle_and_base_move_together(bundle, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    shutil.move(bundle, tmp_path / "elsewhere" / "bundle")
    shutil.move(tmp_path / "base", tmp_path / "elsewhere" / "base")
    SteerablePolicy.from_pretrained(tmp_path / "elsewhere" / "bundle")


def test_each_adapter_of_a_bundle_loads_with_plain_peft(policy, bundle, tiny_base):
    ids = torch.tensor([[1, 5, 6, 7]])
    for name in policy.objectives:
        plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), bundle / name).eval()
        with policy.steer(f"{name}=1.0") as model, torch.no_grad():
            assert_close(plain(ids).logits, model(ids).logits, atol=1e-5, rtol=1e-5)


def test_exports_load_without_moalign(policy, tiny_base, tmp_path):
    ids = torch.tensor([[1, 5, 6, 7]])
    weights = "helpful=0.2,brief=0.3,warm=0.5"
    policy.export(weights, tmp_path / "lora")
    policy.export(weights, tmp_path / "merged", kind="merged")
    with policy.steer(weights) as model, torch.no_grad():
        expected = model(ids).logits
    lora = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), tmp_path / "lora").eval()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad():
        assert_close(lora(ids).logits, expected, atol=1e-5, rtol=1e-5)
        assert_close(merged(ids).logits, expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(InputError, match=r"unknown kind of export 'gguf'.*lora, truncated, merged"):
        policy.export(weights, tmp_path / "x", kind="gguf")


def test_altered_adapter_is_refused(bundle):
    file = bundle / "brief" / "adapter_model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"brief/adapter_model.safetensors' was altered"):
        SteerablePolicy.from_pretrained(bundle)


def test_missing_adapter_file_is_named(bundle):
    (bundle / "warm" / "adapter_config.json").unlink()
    with pytest.raises(InputError, match=r"'warm/adapter_config.json' is missing"):
        SteerablePolicy.from_pretrained(bundle)


def test_missing_base_is_named(bundle, tmp_path):
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(InputError, match=r"cannot load the base model '../base' \(bundle .* needs it\)"):
        SteerablePolicy.from_pretrained(bundle)


def test_another_base_is_refused(bundle, tiny_base, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    model.model.layers[0].mlp.up_proj.weight.data.add_(0.01)
    model.save_pretrained(tmp_path / "other")
    shutil.copy(tiny_base / "tokenizer.json", tmp_path / "other")
    shutil.copy(tiny_base / "tokenizer_config.json", tmp_path / "other")
    with pytest.raises(InputError, match="is not the base model of bundle"):
        SteerablePolicy.from_pretrained(bundle, base=tmp_path / "other")


def test_the_digest_is_the_same_in_bfloat16(bundle):
    assert SteerablePolicy.from_pretrained(bundle, dtype=torch.bfloat16).model.dtype == torch.bfloat16


def test_values_that_are_not_finite_are_refused(tiny_base, plain_adapters, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(plain_adapters["warm"], tmp_path / "warm")
    tensors = load_file(tmp_path / "warm" / "adapter_model.safetensors")
    next(iter(tensors.values()))[0, 0] = float("nan")
    save_file(tensors, tmp_path / "warm" / "adapter_model.safetensors")
    with pytest.raises(InputError, match="not finite"):
        SteerablePolicy.from_pretrained(tiny_base, adapters={"warm": tmp_path / "warm"})


@pytest.mark.parametrize(
    ("preferences", "message"),
    [
        ("helpfull=1.0", "did you mean 'helpful'"),
        (["helpful=1.0"] * 2, "2 preferences for 3 prompts"),
        ("helpful=0.9", "0.9"),
    ],
)
def test_wrong_preferences_are_refused(policy, preferences, message):
    with pytest.raises(InputError, match=message):
        policy.generate(PROMPTS, preferences, **GREEDY)


def test_no_prompts_give_no_texts(policy):
    assert policy.generate([], [], **GREEDY) == []


def test_a_bundle_is_no_base(policy, bundle, plain_adapters):
    with pytest.raises(InputError, match="is a bundle, not a base model"):
        SteerablePolicy.from_pretrained(bundle, adapters=plain_adapters)
    with pytest.raises(InputError, match="adapters is empty"):
        SteerablePolicy.from_pretrained(bundle, adapters={})


KINDS = {
    "adapter_mixture": {},
    "attention": {"conditioned": "attention"},
    "logits": {"conditioned": "logits"},
    "prompt": {"conditioning": "prompt"},
    "dpa": {"conditioning": "prompt", "prompt_style": "dpa"},
    "none": {"conditioning": "none"},
}
MIXED = ["helpful=1.0", "helpful=0.3,brief=0.7", None]


@pytest.fixture(scope="module", params=KINDS)
def conditioned(request, quick, tiny_base):
    return quick.policy(tiny_base, size=0.6, **KINDS[request.param])


def test_every_conditioning_comes_back_from_its_bundle(conditioned, tmp_path):
    conditioned.save_pretrained(tmp_path / "bundle")
    again = SteerablePolicy.from_pretrained(tmp_path / "bundle")
    assert again.conditioning.to_json() == conditioned.conditioning.to_json()
    assert again.generate(PROMPTS, MIXED, **GREEDY) == conditioned.generate(PROMPTS, MIXED, **GREEDY)
    scores = conditioned.log_probs(PROMPTS, COMPLETIONS, MIXED)
    assert torch.equal(again.log_probs(PROMPTS, COMPLETIONS, MIXED), scores)
    reference = conditioned.log_probs(PROMPTS, COMPLETIONS, None)
    assert_close(scores[2:], reference[2:], atol=1e-5, rtol=1e-6)
    assert (scores[:2] - reference[:2]).abs().min() > 1e-3
    folders = {p.name for p in (tmp_path / "bundle").iterdir() if p.is_dir()}
    assert folders == set(conditioned.conditioning.adapters)


def test_every_conditioning_is_served(conditioned):
    """The engine answers rows of several preferences in one batch as the policy answers them alone."""
    from moalign.serving.engine import Engine
    from moalign.serving.schemas import CompletionBody
    from moalign.serving.service import Limits, Service

    expected = [conditioned.generate([p], w, **GREEDY)[0] for p, w in zip(PROMPTS, MIXED[:2], strict=False)]
    with Engine(conditioned, max_batch_size=4) as engine:
        service = Service("tiny", Limits(), {})
        service.engine = engine
        requests = []
        for prompt, preference in zip(PROMPTS, MIXED[:2], strict=False):
            body = CompletionBody(prompt=prompt, max_tokens=8, temperature=0.0)
            requests += service.requests(body, [prompt], Preference.parse(preference))
        answers = engine.generate(requests)
    served = [conditioned.tokenizer.decode(list(a.token_ids), skip_special_tokens=True) for [a] in answers]
    assert served == expected


def test_every_conditioning_is_exported_exactly_or_refused(conditioned, tiny_base, tmp_path):
    ids = torch.tensor([[1, 5, 6, 7]])
    preference = "helpful=0.3,brief=0.7"
    if conditioned.conditioning.kind == "prompt":
        for kind in ("lora", "merged"):
            with pytest.raises(InputError, match=r"reads its preference in the prompt.*export its adapter 'policy'"):
                conditioned.export(preference, tmp_path / kind, kind=kind)
        assert list(tmp_path.iterdir()) == []
        return
    with conditioned.steer(preference) as model, torch.no_grad():
        expected = model(ids).logits
    conditioned.export(preference, tmp_path / "merged", kind="merged")
    conditioned.export(preference, tmp_path / "lora", kind="lora")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    lora = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_base), tmp_path / "lora").eval()
    with torch.no_grad():
        assert_close(merged(ids).logits, expected, atol=5e-5, rtol=1e-4)
        assert_close(lora(ids).logits, expected, atol=5e-5, rtol=1e-4)


def test_a_prompted_policy_is_measured_against_the_plain_prompt(quick, tiny_base):
    from moalign.evaluation import measure_front, sample

    policy = quick.policy(tiny_base, conditioning="prompt")
    weights = policy.weights(["helpful=1.0", "brief=1.0", None], 3)
    got = sample(policy, quick.reward, PROMPTS, weights, max_new_tokens=6, temperature=1.0)
    ids = policy.generate_ids(
        policy.encode(PROMPTS, weights), weights, seed=0, max_new_tokens=6, do_sample=True, top_k=0, top_p=1.0
    )
    assert got.completions == policy.tokenizer.batch_decode(ids, skip_special_tokens=True)
    with torch.no_grad():
        own = policy.token_log_probs(policy.encode(PROMPTS, weights), ids, weights)[0].sum(1)
        plain = policy.token_log_probs(policy.encode(PROMPTS), ids, 0 * weights)[0].sum(1)
    assert_close(got.log_ratio, own - plain, atol=1e-4, rtol=1e-4)
    assert_close(got.reference_log_probs, plain, atol=1e-4, rtol=1e-4)
    assert got.log_ratio[2].abs() < 1e-4
    assert_close(got.rewards, quick.reward.score(PROMPTS, got.completions))
    preferences = [Preference.only(name) for name in policy.objectives]
    front = measure_front(policy, quick.reward, PROMPTS, preferences, max_new_tokens=6, progress=False)
    assert [point.preference for point in front.points] == [p.to_json() for p in preferences]
    assert abs(front.reference_policy.kl) < 1e-4


def test_an_empty_prompt_is_scored_and_answered_alone_as_in_a_batch(policy):
    both = policy.log_probs(["", PROMPTS[0]], ["b c", "d"], "helpful=1.0")
    assert_close(both[:1], policy.log_probs([""], ["b c"], "helpful=1.0"), atol=1e-5, rtol=1e-6)
    start, ids = policy.tokenizer.bos_token_id, policy.tokenizer("b c")["input_ids"]
    with torch.no_grad(), policy.steer("helpful=1.0") as model:
        log_probs = model(torch.tensor([[start, *ids]])).logits.log_softmax(-1)[0]
    expected = sum(log_probs[i, token] for i, token in enumerate([*ids, policy.tokenizer.eos_token_id]))
    assert_close(both[0], expected, atol=1e-5, rtol=1e-6)
    assert policy.generate([""], "helpful=1.0", **GREEDY) == policy.generate(["", "a b"], "helpful=1.0", **GREEDY)[:1]


def test_a_strength_for_each_row(policy):
    for rows, strength in ((1, [1.0, 2.0, 3.0]), (3, [1.0, 2.0])):
        with pytest.raises(InputError, match=f"{len(strength)} strengths for {rows} prompts: give one, or one per"):
            policy.weights("helpful=1.0", rows, strength)


def test_nothing_to_score(policy):
    assert policy.log_probs([], [], "helpful=1.0").shape == (0,)


def test_without_an_end_the_whole_length_is_generated(policy):
    [ids] = policy.generate_ids([[1, 5]], policy.weights("helpful=1.0", 1), eos_token_id=None, max_new_tokens=40)
    assert len(ids) == 40
