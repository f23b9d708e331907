import json

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from torch.testing import assert_close
from transformers import AutoModelForCausalLM
from trl import RLOOConfig, RLOOTrainer

from frontier.errors import InputError
from moalign.conditioning.adapter_mixture import add_adapters
from moalign.loading import load_tokenizer
from moalign.methods.clp import CLPConfig, CLPTrainer
from moalign.methods.rewarded_soups import train_rewarded_soups
from moalign.policy import SteerablePolicy
from moalign.training.online import OnlineTrainer
from reward_heads import FunctionReward, Normalizer

PROMPTS = Dataset.from_dict({"prompt": ["a b", "c d e", "f", "g h ? i"] * 4})


def count(letters):
    return lambda prompt, completion: float(sum(word in letters for word in completion.split()))


REWARD = FunctionReward({"helpful": count("aeiou"), "brief": lambda p, c: -float(len(c.split()))})


def settings(folder, **changes):
    defaults = {
        "output_dir": str(folder),
        "max_steps": 3,
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 6,
        "learning_rate": 1e-2,
        "lora_r": 4,
        "normalizer_samples": 32,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
    }
    return CLPConfig(**{**defaults, **changes})


def parameters(trainer):
    return {n: p.detach().clone() for n, p in trainer.model.named_parameters() if ".lora_" in n}


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tiny_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clp")
    trainer = CLPTrainer(str(tiny_base), REWARD, settings(folder), PROMPTS)
    before = parameters(trainer)
    trainer.train()
    trainer.save_model()
    return trainer, before, folder


def test_only_the_objectives_adapters_exist_and_train(trained):
    trainer, before, _ = trained
    assert list(trainer.model.peft_config) == [
        "helpful",
        "brief",
    ]  # TRL's "ref" and the borrowed "default" are gone again
    after = parameters(trainer)
    for name in ("helpful", "brief"):
        assert any(not torch.equal(before[n], after[n]) for n in after if f".{name}." in n)
    trainable = {n for n, p in trainer.model.named_parameters() if p.requires_grad}
    assert trainable == set(after)


def test_the_run_folder_is_a_bundle_with_its_story(trained):
    trainer, _, folder = trained
    policy = SteerablePolicy.from_pretrained(folder)
    assert policy.training["method"] == "clp"
    assert policy.normalizer == trainer.normalizer.to_json()
    texts = policy.generate(["a b"], "helpful=0.5,brief=0.5", max_new_tokens=4, do_sample=False)
    assert texts == trainer.policy.generate(["a b"], "helpful=0.5,brief=0.5", max_new_tokens=4, do_sample=False)
    assert json.loads((folder / "config.json").read_text())["max_steps"] == 3
    assert "| method | clp |" in (folder / "README.md").read_text()
    lines = [line for line in metrics(folder) if "rewards/helpful/mean" in line]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert {"kl", "reward", "rewards/brief/mean", "rewards/scalarized/mean", "loss"} <= set(lines[0])


def test_one_objective_is_trl_rloo(tiny_base, tmp_path):
    """The limit that fixes everything at once: reward, KL penalty, reference, advantage, loss and update are TRL's own, on its own rollouts (its random numbers)."""
    reward = FunctionReward({"helpful": count("aeiou")})
    config = settings(tmp_path / "ours", normalize_rewards=False, beta=0.3, rollout="transformers")
    ours = CLPTrainer(str(tiny_base), reward, config, PROMPTS)
    start = {n.replace(".helpful.", ".default."): p for n, p in parameters(ours).items()}
    ours.train()  # before the other is built: building a trainer seeds the global random state that rollouts draw from
    shared = {
        name: getattr(config, name)
        for name in (
            *(
                "max_steps",
                "per_device_train_batch_size",
                "num_generations",
                "max_completion_length",
                "learning_rate",
                "beta",
            ),
            *("save_strategy", "report_to", "disable_tqdm", "use_cpu", "gradient_checkpointing", "bf16"),
        )
    }

    def helpful(completions, **kwargs):
        return [count("aeiou")("", c) for c in completions]

    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    args = RLOOConfig(output_dir=str(tmp_path / "trl"), **shared)
    lora = LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    theirs = RLOOTrainer(model, helpful, args, PROMPTS, processing_class=ours.policy.tokenizer, peft_config=lora)
    theirs.model.load_state_dict(start, strict=False)
    theirs.train()
    ends = {n: p for n, p in theirs.model.named_parameters() if ".lora_" in n}
    assert any(not torch.equal(p, start[n]) for n, p in ends.items())
    for name, value in parameters(ours).items():
        assert_close(value, ends[name.replace(".helpful.", ".default.")].detach(), atol=2e-5, rtol=1e-4)


def test_a_vertex_trains_its_own_adapter_alone(tiny_base, tmp_path):
    trainer = OnlineTrainer(str(tiny_base), REWARD, settings(tmp_path, preference="helpful=1.0"), PROMPTS)
    before = parameters(trainer)
    trainer.train()
    after = parameters(trainer)
    for name, value in after.items():
        if ".brief." in name:
            assert torch.equal(value, before[name])
    assert any(not torch.equal(value, before[name]) for name, value in after.items() if ".helpful." in name)


def test_kl_mixing_holds_each_row_to_its_own_alpha(tiny_base, tmp_path):
    """Advantages, recomputed by hand from (1 − α) w·r − α (log π − log π_ref), for rows of different α."""
    config = settings(
        tmp_path, kl_mixing=True, alpha_min=0.1, alpha_max=0.9, max_steps=1, normalize_rewards=False, temperature=1.0
    )
    policy = SteerablePolicy(
        add_adapters(
            AutoModelForCausalLM.from_pretrained(tiny_base),
            dict.fromkeys(REWARD.objectives, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)),
        ),
        load_tokenizer(tiny_base),
        REWARD.objectives,
    )
    trainer = CLPTrainer(policy, REWARD, config, PROMPTS)
    seen = {}
    original = trainer._calculate_rewards

    def spy(inputs, prompts, completions, ids):
        seen.update(rows=trainer._rows(), prompts=prompts, ids=ids, rewards=REWARD.score(prompts, completions))
        return original(inputs, prompts, completions, ids)

    trainer._calculate_rewards = spy
    trainer.model.train()
    output = trainer._generate_and_score_completions([{"prompt": p} for p in ("a b", "c d e") for _ in range(4)])
    rows, prompt_ids = seen["rows"], policy.encode(seen["prompts"])
    with torch.no_grad():
        own = policy.token_log_probs(prompt_ids, seen["ids"], rows.mixture_weights)[0].sum(1)
        reference = policy.token_log_probs(prompt_ids, seen["ids"], torch.zeros_like(rows.weights))[0].sum(1)
    assert (own - reference).abs().max() > 0.1
    value = (1 - rows.alpha) * (rows.weights * seen["rewards"]).sum(1) - rows.alpha * (own - reference)
    groups = value.view(2, 4)
    expected = groups - (groups.sum(1, keepdim=True) - groups) / 3
    assert_close(output["advantages"], expected.flatten(), atol=1e-4, rtol=1e-4)
    assert_close(output["steering_weights"], (1 - rows.alpha)[:, None] * rows.weights)
    assert rows.alpha.unique().numel() == 2
    tokens = sum(len(ids) for ids in seen["ids"])  # the divergence itself, though the penalty is alpha times it
    assert trainer._metrics["train"]["kl"] == [pytest.approx(float((own - reference).sum()) / tokens, abs=1e-4)]


def test_rewards_are_normalised_by_the_reference_policy(trained):
    trainer, _, _ = trained
    assert trainer.normalizer.n == 32
    assert trainer.normalizer.objectives == ("helpful", "brief")


def test_resumed_training_is_bit_equal(tiny_base, tmp_path):
    steps = {"max_steps": 4, "save_steps": 2, "save_strategy": "steps", "kl_mixing": True}
    whole = CLPTrainer(str(tiny_base), REWARD, settings(tmp_path / "whole", **steps), PROMPTS)
    whole.train()
    half = CLPTrainer(str(tiny_base), REWARD, settings(tmp_path / "half", **{**steps, "max_steps": 4}), PROMPTS)
    half.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    for name, value in parameters(whole).items():
        assert torch.equal(value, parameters(half)[name]), name
    assert half.normalizer == whole.normalizer

    def logged(folder, step):
        line = next(x for x in metrics(folder) if x["step"] == step and "reward" in x)
        return {k: v for k, v in line.items() if "time" not in k}

    assert logged(tmp_path / "whole", 4) == logged(tmp_path / "half", 4)


def test_a_scalarizers_state_is_logged_and_resumed_bit_equal(tiny_base, tmp_path):
    from moalign.scalarize import Constraint, Lagrangian

    def trainer(name):
        scalarizer = Lagrangian(REWARD.objectives, [Constraint("brief", "above", 0.5)], window=3)
        steps = {"max_steps": 4, "save_steps": 2, "save_strategy": "steps"}
        return CLPTrainer(str(tiny_base), REWARD, settings(tmp_path / name, **steps), PROMPTS, scalarizer=scalarizer)

    whole, half = trainer("whole"), trainer("half")
    whole.train()
    half.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    assert whole.scalarizer.state() == half.scalarizer.state()
    assert whole.scalarizer.state() != trainer("fresh").scalarizer.state()
    for name, value in parameters(whole).items():
        assert torch.equal(value, parameters(half)[name]), name
    logged = [line for line in metrics(tmp_path / "whole") if "reward" in line]
    assert set(whole.scalarizer.metrics()) <= set(logged[0])


def test_every_checkpoint_is_a_bundle(tiny_base, tmp_path):
    config = settings(tmp_path, max_steps=1, save_strategy="steps", save_steps=1)
    CLPTrainer(str(tiny_base), REWARD, config, PROMPTS).train()
    assert SteerablePolicy.from_pretrained(tmp_path / "checkpoint-1").objectives == ("helpful", "brief")
    (tmp_path / "checkpoint-1" / "steering_state.json").unlink()
    with pytest.raises(InputError, match=r"has no steering_state.json"):
        CLPTrainer(str(tiny_base), REWARD, config, PROMPTS).train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


def test_missing_rewards_leave_rows_out(tiny_base, tmp_path):
    partly = FunctionReward(
        {
            "helpful": lambda p, c: None if p.startswith("a") else 1.0 * len(c),
            "brief": lambda p, c: None if p.startswith("a") else -1.0 * len(c),
        }
    )
    trainer = CLPTrainer(str(tiny_base), partly, settings(tmp_path, normalize_rewards=False), PROMPTS)
    trainer.model.train()
    output = trainer._generate_and_score_completions([{"prompt": p} for p in ("a b", "c d e") for _ in range(4)])
    assert torch.equal(output["advantages"][:4], torch.zeros(4))
    assert output["advantages"][4:].abs().sum() > 0


def test_an_objective_that_nobody_scores_is_left_out_and_logged(quick, tiny_base, tmp_path):
    """Linear gives its weight to the others, so training goes on as for them alone."""
    silent = FunctionReward({"helpful": quick.helpful, "brief": lambda p, c: None})
    options = {"preference": "helpful=0.5,brief=0.5", **quick.sgd}
    trainer = CLPTrainer(str(tiny_base), silent, quick.settings(tmp_path / "silent", **options), quick.prompts)
    trainer.train()
    log = quick.metrics(tmp_path / "silent")
    assert [(line["missing/helpful"], line["missing/brief"]) for line in log] == [(0, 1), (0, 1)]
    assert log[0]["rewards/brief/mean"] is None
    constant = FunctionReward({"helpful": quick.helpful, "brief": quick.helpful})
    other = CLPTrainer(str(tiny_base), constant, quick.settings(tmp_path / "both", **options), quick.prompts)
    other.train()
    for name, value in parameters(other).items():
        assert_close(parameters(trainer)[name], value, atol=1e-5, rtol=1e-4)
    config = quick.settings(tmp_path / "normal", normalize_rewards=True, normalizer_samples=8)
    with pytest.raises(InputError, match="brief"):
        CLPTrainer(str(tiny_base), silent, config, quick.prompts).train()


CONVERSATIONS = [
    [{"role": "system", "content": "short"}, {"role": "user", "content": "a b"}],
    [{"role": "user", "content": "c"}],
]


@pytest.mark.parametrize("prompts", [["a b", "c d e"], CONVERSATIONS], ids=["texts", "conversations"])
@pytest.mark.parametrize("style", ["plain", "dpa"])
def test_a_prompted_policy_is_rewarded_and_held_to_the_reference_on_the_plain_prompt(
    quick, tiny_base, tmp_path, prompts, style
):
    options = {"conditioning": "prompt", "prompt_style": style}
    policy = quick.policy(tiny_base, **options)
    config = quick.settings(tmp_path, beta=0.3, **options)
    trainer = CLPTrainer(policy, quick.reward, config, Dataset.from_dict({"prompt": prompts}))
    seen = {}
    generate, calculate = trainer._generate_single_turn, trainer._calculate_rewards
    score = trainer.reward_funcs[0]

    def spy_generate(prompt_ids, *args):
        seen.update(read=prompt_ids, weights=trainer._rows().weights)
        return generate(prompt_ids, *args)

    def spy_score(prompts, completions, **kwargs):
        seen.update(judged=prompts)
        return score(prompts=prompts, completions=completions, **kwargs)

    def spy_calculate(inputs, told, completions, ids):
        seen.update(ids=ids, texts=completions)
        return calculate(inputs, told, completions, ids)

    trainer._generate_single_turn, trainer._calculate_rewards = spy_generate, spy_calculate
    trainer.reward_funcs[0] = spy_score
    trainer.model.train()
    plain = [p for p in prompts for _ in range(4)]
    batch = trainer._generate_and_score_completions([{"prompt": p} for p in plain])
    weights = seen["weights"]
    assert seen["read"] == policy.encode(policy.conditioning.prompts(plain, weights)) != policy.encode(plain)
    assert seen["judged"] == plain
    with torch.no_grad():
        own = policy.token_log_probs(policy.encode(plain, weights), seen["ids"], weights)[0].sum(1)
        reference = policy.token_log_probs(policy.encode(plain), seen["ids"], torch.zeros_like(weights))[0].sum(1)
    texts = [c if isinstance(c, str) else c[0]["content"] for c in seen["texts"]]
    value = (weights * quick.reward.score(["x"] * 8, texts)).sum(1) - 0.3 * (own - reference)
    groups = value.view(2, 4)
    assert_close(
        batch["advantages"], (groups - (groups.sum(1, keepdim=True) - groups) / 3).flatten(), atol=1e-4, rtol=1e-4
    )
    assert_close(batch["old_logps"], own, atol=1e-4, rtol=1e-4)


def test_infinite_rewards_stop_with_the_objective_named(tiny_base, tmp_path):
    class Broken:
        objectives = ("helpful", "brief")

        def score(self, prompts, completions):
            return torch.tensor([[1.0, float("inf")]] * len(prompts))

    trainer = CLPTrainer(str(tiny_base), Broken(), settings(tmp_path, normalize_rewards=False), PROMPTS)
    with pytest.raises(InputError, match="'brief'"):
        trainer.train()


def test_soups_train_each_adapter_alone(tiny_base, tmp_path):
    normalizer = Normalizer(("helpful", "brief"), (0.0, 0.0), (1.0, 1.0), 1)
    policy = train_rewarded_soups(
        str(tiny_base), REWARD, settings(tmp_path, max_steps=4), PROMPTS, normalizer=normalizer
    )
    lines = [len(metrics(tmp_path / name)) for name in REWARD.objectives]
    assert lines[0] == lines[1]
    for name in REWARD.objectives:
        assert any(p.abs().sum() > 0 for p in policy.mixture.parameters(name)[1::2])  # B left zero
    assert policy.training["method"] == "rewarded_soups"
    policy.save_pretrained(tmp_path / "soup")
    SteerablePolicy.from_pretrained(tmp_path / "soup")


@pytest.mark.parametrize(
    "option",
    [
        {"use_vllm": True},
        {"use_transformers_continuous_batching": True},
        {"sync_ref_model": True},
        {"reward_weights": [1.0, 2.0]},
    ],
)
def test_options_that_would_undo_the_steering_are_refused(tmp_path, option):
    with pytest.raises(InputError, match=f"{next(iter(option))} cannot be used"):
        settings(tmp_path, **option)


def test_accumulated_chunks_keep_each_row_under_its_own_weights(tiny_base, tmp_path):
    """One rollout in two chunks (shuffled by TRL) ends at the same weights as in one."""

    def end(name, **chunks):
        options = {
            "max_steps": 2,
            "normalize_rewards": False,
            "optim": "sgd",
            "max_grad_norm": 0.0,
            "learning_rate": 0.5,
        }
        trainer = CLPTrainer(str(tiny_base), REWARD, settings(tmp_path / name, **options, **chunks), PROMPTS)
        trainer.train()
        return parameters(trainer)

    whole = end("whole", per_device_train_batch_size=8)
    chunked = end("chunked", per_device_train_batch_size=4, gradient_accumulation_steps=2)
    for name, value in whole.items():
        assert_close(value, chunked[name], atol=1e-5, rtol=1e-4)


def test_refusals(tiny_base, tmp_path):
    with pytest.raises(InputError, match="needs a column 'prompt', found text"):
        CLPTrainer(str(tiny_base), REWARD, settings(tmp_path), Dataset.from_dict({"text": ["a"]}))
    with pytest.raises(InputError, match="did you mean 'helpful'"):
        CLPTrainer(str(tiny_base), REWARD, settings(tmp_path, preference="helpfull=1.0"), PROMPTS)
    for conditioning in ("prompt", "none"):
        config = settings(tmp_path, conditioning=conditioning, kl_mixing=True, preference="helpful=1.0")
        with pytest.raises(InputError, match=f"kl_mixing scales mixed weights.*found {conditioning}"):
            CLPTrainer(str(tiny_base), REWARD, config, PROMPTS)
    for preference in ("helpful=0.9,brief=0.3", "helpful=1.5,brief=-0.5"):
        with pytest.raises(InputError, match=r"1\.2|negative"):
            CLPTrainer(str(tiny_base), REWARD, settings(tmp_path, preference=preference), PROMPTS)
    with pytest.raises(InputError, match="unknown adapter 'breif': did you mean 'brief'"):
        OnlineTrainer(str(tiny_base), REWARD, settings(tmp_path), PROMPTS, adapters=["breif"])
    with pytest.raises(InputError, match="cannot load the base model"):
        CLPTrainer(str(tmp_path / "nothing"), REWARD, settings(tmp_path), PROMPTS)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_base), LoraConfig(r=2, target_modules=["q_proj"]))
    with pytest.raises(InputError, match="already carries adapters"):
        CLPTrainer(model, REWARD, settings(tmp_path), PROMPTS)
