import json
import math
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from torch.testing import assert_close
from transformers import AutoModelForCausalLM
from trl import DPOConfig, DPOTrainer

from frontier.errors import InputError
from moalign.policy import SteerablePolicy
from moalign.training.direct import DirectConfig, DirectTrainer
from moalign.training.direct_loss import batch_loss
from moalign.training.margins import MarginScale
from moalign.training.pairs import collate
from reward_heads import FunctionReward, Normalizer

from ..small_runs import SETTINGS, brevity, metrics, parameters, vowels

TEXTS = ["a b", "c d e", "f", "g h ? i"]
ANSWERS = [" a e i", " b", " o u x", " z z a", " k l m n", " i"]


REWARD = FunctionReward({"helpful": vowels, "brief": brevity})


def make_pairs(labels=("helpful", "brief"), n=16, hide=()):
    """Soft Bradley-Terry labels of REWARD at 1 and 0.5 nats per unit."""
    rows = []
    for i in range(n):
        a, b = ANSWERS[i % 6], ANSWERS[(i * 5 + 1 + i // 6) % 6]
        scores = REWARD.score(["", ""], [a, b])
        chance = torch.sigmoid((scores[0] - scores[1]) * torch.tensor([1.0, 0.5])).tolist()
        given = dict(zip(("helpful", "brief"), chance, strict=True))
        given = {name: None if (i, name) in hide else given[name] for name in labels}
        rows.append({"prompt": TEXTS[i % 4], "completion_a": a, "completion_b": b, "labels": given})
    return Dataset.from_list(rows)


PAIRS = make_pairs()


def settings(folder, **changes):
    own = {"output_dir": str(folder), "max_steps": 3, "per_device_train_batch_size": 4, "cache_dir": "off"}
    return DirectConfig(**{**SETTINGS, **own, **changes})


@pytest.fixture(scope="module")
def trained(tiny_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("direct")
    trainer = DirectTrainer(str(tiny_base), REWARD, settings(folder), PAIRS, eval_dataset=PAIRS.select(range(6)))
    before = parameters(trainer)
    trainer.train()
    trainer.save_model()
    return trainer, before, folder


def test_both_adapters_train_and_nothing_else(trained):
    trainer, before, _ = trained
    after = parameters(trainer)
    for name in ("helpful", "brief"):
        assert any(not torch.equal(before[n], after[n]) for n in after if f".{name}." in n)
    assert {n for n, p in trainer.model.named_parameters() if p.requires_grad} == set(after)


def test_the_run_folder_is_a_bundle_with_its_story(trained):
    trainer, _, folder = trained
    policy = SteerablePolicy.from_pretrained(folder)
    assert policy.training["method"] == "direct"
    assert policy.training["pairs"] == 16
    assert policy.training["margin_scale"]["value"] == pytest.approx({"helpful": 1.0, "brief": 0.5}, abs=1e-4)
    assert policy.training["margin_scale"]["standard_error"]["brief"] > 0
    assert json.loads((folder / "config.json").read_text())["method"] == "direct"
    assert "| loss_type | sigmoid |" in (folder / "README.md").read_text()
    texts = policy.generate(["a b"], "helpful=0.5,brief=0.5", max_new_tokens=4, do_sample=False)
    assert texts == trainer.policy.generate(["a b"], "helpful=0.5,brief=0.5", max_new_tokens=4, do_sample=False)


def test_the_log_has_trl_s_names_and_ours(trained):
    lines = metrics(trained[2])
    assert lines[0]["margin_scale/helpful"] == pytest.approx(1.0, abs=1e-4)
    assert lines[0]["step"] == 0
    steps = [line for line in lines if "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert {"rewards/chosen", "rewards/margins", "rewards/accuracies", "logps/rejected", "log_ratio"} <= set(steps[0])
    assert steps[0]["labels/helpful"] == 1
    assert steps[0]["rows_left_out"] == 0
    assert steps[0]["rewards/margins"] == pytest.approx(0, abs=1e-5)  # B is 0 at the start
    assert abs(steps[2]["rewards/margins"]) > 1e-4


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("sigmoid", {}),
        ("hinge", {}),
        ("ipo", {}),
        ("robust", {"label_smoothing": 0.1}),
        ("exo_pair", {"label_smoothing": 1e-3}),
        ("discopop", {"discopop_tau": 0.1}),
        ("sigmoid_norm", {}),
        ("sigmoid", {"f_divergence_type": "js_divergence"}),
        ("apo_zero", {}),
        ("nca_pair", {}),
    ],
)
def test_one_objective_is_trl_dpo(tiny_base, tmp_path, loss, options):
    """Tokens, reference, loss and three updates are TRL's own, from the same start over the same batches."""
    rows = [{"prompt": r["prompt"], "chosen": r["completion_a"], "rejected": r["completion_b"]} for r in PAIRS]
    rows = Dataset.from_list([row for row in rows if row["chosen"] != row["rejected"]][:12])
    shared = {"loss_type": [loss], "beta": 0.3, **options, "gradient_checkpointing": False, "bf16": False}
    trl_pairs = rows.add_column("objective", ["helpful"] * len(rows))
    ours = DirectTrainer(str(tiny_base), None, settings(tmp_path / "ours", **shared), trl_pairs)
    start = {n.replace(".helpful.", ".default."): p for n, p in parameters(ours).items()}
    names = ("max_steps", "per_device_train_batch_size", "learning_rate", "logging_steps", "save_strategy")
    shared |= {name: getattr(ours.args, name) for name in (*names, "report_to", "disable_tqdm", "use_cpu")}
    lora = LoraConfig(r=4, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    theirs = DPOTrainer(
        AutoModelForCausalLM.from_pretrained(tiny_base),
        args=DPOConfig(output_dir=str(tmp_path / "trl"), **shared),
        train_dataset=rows,
        processing_class=ours.policy.tokenizer,
        peft_config=lora,
    )
    theirs.model.load_state_dict(start, strict=False)
    ours.train()
    theirs.train()
    ends = {n: p for n, p in theirs.model.named_parameters() if ".lora_" in n}
    assert any(not torch.equal(p, start[n]) for n, p in ends.items())
    for name, value in parameters(ours).items():
        assert_close(value, ends[name.replace(".helpful.", ".default.")].detach(), atol=5e-5, rtol=1e-4)
    own = [line for line in ours.state.log_history if "loss" in line]
    other = [line for line in theirs.state.log_history if "loss" in line]
    assert_close(own[0]["loss"], other[0]["loss"], atol=1e-6, rtol=1e-6)
    for mine, its in zip(own, other, strict=True):
        for name in ("loss", "grad_norm", "rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen"):
            assert mine[name] == pytest.approx(its[name], abs=1e-4, rel=1e-3), name
        if mine["step"] > 1:  # at the start all are ties, up to rounding
            assert mine["rewards/accuracies"] == its["rewards/accuracies"]


def test_the_loss_of_a_batch_is_modpo_s_by_hand(trained):
    trainer, _, _ = trained
    rows = [trainer.train_dataset[i] for i in (1, 2, 4)]
    weights = torch.tensor([[0.75, 0.25], [0.02, 0.98], [1.0, 0.0]])
    trainer._preferences = lambda *_: (weights, None)
    with torch.no_grad():
        got = trainer.compute_loss(trainer.model, collate(rows))
    del trainer._preferences
    policy, beta = trainer.policy, trainer.args.beta
    total = 0.0
    for row, w in zip((1, 2, 4), weights.tolist(), strict=True):
        pair = PAIRS[row]
        asked = dict(zip(("helpful", "brief"), w, strict=True))
        texts = [pair["completion_a"], pair["completion_b"]]
        own = policy.log_probs([pair["prompt"]] * 2, texts, asked)
        ratio = own - policy.log_probs([pair["prompt"]] * 2, texts, None)
        scores = REWARD.score([""] * 2, texts) * torch.tensor([1.0, 0.5])
        margin = (scores[0] - scores[1]).tolist()
        used = [k for k in (0, 1) if w[k] >= 0.05]
        for k in used:
            d = float((beta * (ratio[0] - ratio[1]) - w[1 - k] * margin[1 - k]) / w[k])
            label = pair["labels"][("helpful", "brief")[k]]
            loss = -label * math.log(1 / (1 + math.exp(-d))) - (1 - label) * math.log(1 / (1 + math.exp(d)))
            total += w[k] / sum(w[j] for j in used) * loss
    assert float(got) == pytest.approx(total / 3, abs=1e-4)


def test_a_vertex_trains_its_own_adapter_as_one_objective_alone_does(tiny_base, tmp_path):
    both = DirectTrainer(str(tiny_base), None, settings(tmp_path / "a", preference="helpful=1.0"), PAIRS)
    before = parameters(both)
    both.train()
    after = parameters(both)
    assert all(torch.equal(value, before[name]) for name, value in after.items() if ".brief." in name)
    alone = DirectTrainer(str(tiny_base), None, settings(tmp_path / "b"), make_pairs(labels=("helpful",)))
    alone.train()
    for name, value in parameters(alone).items():
        assert_close(value, after[name], atol=1e-6, rtol=1e-5)
    assert "margin_scale" not in both.policy.training


@pytest.mark.parametrize("options", [{}, {"rotation": "sampled"}, {"gradient_aggregation": "UPGrad"}])
def test_resumed_training_is_bit_equal(tiny_base, tmp_path, options):
    steps = {"max_steps": 4, "save_steps": 2, "save_strategy": "steps", **options}
    pairs = make_pairs(hide=[(1, "helpful"), (2, "brief")])
    whole = DirectTrainer(str(tiny_base), REWARD, settings(tmp_path / "whole", **steps), pairs)
    whole.train()
    half = DirectTrainer(str(tiny_base), REWARD, settings(tmp_path / "half", **steps), pairs)
    half.margin_scale = MarginScale(("helpful", "brief"), (9.0, 9.0), (0.1, 0.1))  # the checkpoint knows better
    half.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))
    for name, value in parameters(whole).items():
        assert torch.equal(value, parameters(half)[name]), name
    assert half.margin_scale == whole.margin_scale

    def logged(folder):
        line = next(x for x in metrics(folder) if x["step"] == 4 and "loss" in x)
        return {k: v for k, v in line.items() if "time" not in k}

    assert logged(tmp_path / "whole") == logged(tmp_path / "half")
    assert SteerablePolicy.from_pretrained(tmp_path / "whole" / "checkpoint-2").objectives == ("helpful", "brief")


def test_accumulated_batches_are_averaged(tiny_base, tmp_path):
    def end(name, **changes):
        options = {"max_steps": 2, "preference": "helpful=0.6,brief=0.4", "optim": "sgd", "max_grad_norm": 0, **changes}
        trainer = DirectTrainer(str(tiny_base), REWARD, settings(tmp_path / name, **options), PAIRS)
        trainer.train()
        return parameters(trainer)

    whole = end("whole", per_device_train_batch_size=8)
    parts = end("parts", per_device_train_batch_size=2, gradient_accumulation_steps=4)
    for name, value in whole.items():
        assert_close(value, parts[name], atol=1e-6, rtol=1e-4)


def test_evaluation_repeats_itself_and_leaves_training_alone(trained):
    trainer, _, _ = trained
    state = trainer.sampler.state()
    first, second = trainer.evaluate(), trainer.evaluate()
    assert first["eval_loss"] == second["eval_loss"] > 0
    assert trainer.sampler.state() == state
    assert trainer.evaluate(PAIRS.select(range(6)))["eval_loss"] == first["eval_loss"]
    named = trainer.evaluate({"one": PAIRS.select(range(6)), "two": PAIRS})
    assert named["eval_one_loss"] == first["eval_loss"]
    assert "eval_two_rewards/margins" in {key for line in trainer.state.log_history for key in line}


@pytest.mark.parametrize("conditioning", ["prompt", "none"])
def test_other_conditionings_train(tiny_base, tmp_path, conditioning):
    options = {"conditioning": conditioning} | (
        {"preference": "helpful=0.7,brief=0.3"} if conditioning == "none" else {}
    )
    trainer = DirectTrainer(str(tiny_base), REWARD, settings(tmp_path, **options), PAIRS)
    before = parameters(trainer)
    trainer.train()
    assert any(not torch.equal(value, before[name]) for name, value in parameters(trainer).items())
    trainer.save_model()
    assert SteerablePolicy.from_pretrained(tmp_path).conditioning.kind == conditioning


def test_a_policy_that_is_told_its_preference_reads_it_and_the_reference_does_not(tiny_base, tmp_path):
    trainer = DirectTrainer(str(tiny_base), REWARD, settings(tmp_path, conditioning="prompt"), PAIRS)
    for n, p in trainer.model.named_parameters():
        if ".lora_B." in n:
            torch.nn.init.normal_(p, std=0.3)
    rows, weights = [trainer.train_dataset[1]], torch.tensor([[0.7, 0.3]])
    seen = {}
    trainer._record = lambda sums: seen.update(sums)
    trainer.model.eval()
    with torch.no_grad():
        trainer._batch_loss(trainer.model, collate(rows), weights, None)
    pair = PAIRS[1]
    texts, prompts = [pair["completion_a"], pair["completion_b"]], [pair["prompt"]] * 2
    own = trainer.policy.log_probs(prompts, texts, "helpful=0.7,brief=0.3")
    reference = trainer.policy.log_probs(prompts, texts, None)
    assert_close(seen["log_ratio"][0], (own - reference).sum(), atol=1e-4, rtol=1e-4)
    assert (own - reference).abs().max() > 0.01


def test_a_text_that_is_answered_by_messages_is_told_its_preference_as_one(tiny_base, tmp_path):
    """The prompt that a policy is told its preference in is the one that the pair's tokens were counted from."""
    said = [[{"role": "assistant", "content": text}] for text in ("a e i", "b")]
    both = [
        {"prompt": prompt, "completion_a": said[0], "completion_b": said[1], "labels": {"helpful": 0.7, "brief": 0.4}}
        for prompt in ("a b", [{"role": "user", "content": "a b"}])
    ]
    reward = FunctionReward({"helpful": lambda p, c: 1.0, "brief": lambda p, c: 0.0})
    found = []
    for i, row in enumerate(both):
        config = settings(tmp_path / str(i), conditioning="prompt", margin_scale="none")
        trainer = DirectTrainer(str(tiny_base), reward, config, Dataset.from_list([row]))
        trainer._record = lambda sums: found.append(sums["log_ratio"][0])
        trainer._batch_loss(trainer.model, collate([trainer.train_dataset[0]]), torch.tensor([[0.7, 0.3]]), None)
    assert_close(*found)


def test_missing_labels_and_rewards_leave_rows_out(tiny_base, tmp_path):
    partly = FunctionReward({"helpful": vowels, "brief": lambda p, c: None if p == "f" else -float(len(c.split()))})
    pairs = make_pairs(hide=[(i, "brief") for i in range(0, 16, 4)])
    config = settings(tmp_path, max_steps=1, per_device_train_batch_size=16)
    trainer = DirectTrainer(str(tiny_base), partly, config, pairs)
    trainer._preferences = lambda rows, _: (torch.tensor([[0.9, 0.1]]).expand(rows, -1), None)
    trainer.train()
    line = metrics(tmp_path)[1]
    assert line["labels/brief"] == 0.75
    # Prompt "f" (i % 4 == 2) has no reward for brief: only its own label can train there, which needs helpful's reward.
    assert line["rows_left_out"] == 0
    assert line["accuracy/helpful"] >= 0
    config = settings(tmp_path, max_steps=1, per_device_train_batch_size=16, preference="helpful=0.98,brief=0.02")
    trainer = DirectTrainer(str(tiny_base), partly, config, pairs)
    trainer.train()
    assert metrics(tmp_path)[1]["rows_left_out"] == 4


def test_a_batch_without_anything_to_train_warns_once_and_changes_nothing(tiny_base, tmp_path, caplog):
    trainer = DirectTrainer(str(tiny_base), REWARD, settings(tmp_path, max_steps=2), PAIRS)
    trainer.train_dataset.labels[:] = torch.nan
    before = parameters(trainer)
    trainer.train()
    assert all(torch.equal(value, before[name]) for name, value in parameters(trainer).items())
    assert caplog.text.count("no row of a batch could be trained on") == 1


def test_a_batch_without_rows_to_train_logs_the_same_figures(tiny_base, tmp_path):
    """Processes put their figures together step by step, and only some may have such a batch."""
    trainer = DirectTrainer(str(tiny_base), REWARD, settings(tmp_path, gradient_aggregation="Sum"), PAIRS)
    trainer.model.train()
    rows = [trainer.train_dataset[i] for i in range(3)]
    trainer.compute_loss(trainer.model, collate(rows))
    trainer.compute_loss(trainer.model, collate([row | {"preferred": torch.full((2,), torch.nan)} for row in rows]))
    first, second = trainer._metrics["train"]._names[:2], trainer._metrics["train"]._names[2:]
    assert first == second
    assert trainer._metrics["train"].take()["conflict/rising"] == 0


def test_figures_are_collected_where_processes_exchange_them(tiny_base, tmp_path, monkeypatch):
    """Trainer moves the model to its device; a figure that stayed on the CPU could not be gathered from several GPUs."""
    policy = SteerablePolicy.device
    monkeypatch.setattr(SteerablePolicy, "device", property(lambda self: torch.device("meta")))
    own = DirectTrainer._activate
    monkeypatch.setattr(
        DirectTrainer, "_activate", lambda self: (setattr(SteerablePolicy, "device", policy), own(self))
    )
    trainer = DirectTrainer(str(tiny_base), REWARD, settings(tmp_path), PAIRS)
    assert trainer._metrics["train"].device.type == "cpu"


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradient_aggregation_sums_to_the_loss_and_measures_conflict(tiny_base, tmp_path, checkpointing):
    plain = DirectTrainer(str(tiny_base), REWARD, settings(tmp_path / "plain"), PAIRS)
    plain.train()
    options = {"gradient_aggregation": "Sum", "gradient_checkpointing": checkpointing}
    summed = DirectTrainer(str(tiny_base), REWARD, settings(tmp_path / "sum", **options), PAIRS)
    summed.train()
    for name, value in parameters(plain).items():
        assert_close(parameters(summed)[name], value, atol=1e-4, rtol=1e-3)
    assert "conflict/min_cosine" in metrics(tmp_path / "sum")[1]


def test_an_objective_without_reward_is_trained_if_the_preference_names_it(tiny_base, tmp_path, caplog):
    """The paper's setting: labels of one objective, a rule as the margin of the other."""
    brief = FunctionReward({"brief": lambda p, c: -float(len(c.split()))})
    config = settings(tmp_path, conditioning="none", preference="helpful=0.7,brief=0.3", margin_scale="none")
    trainer = DirectTrainer(str(tiny_base), brief, config, make_pairs(labels=("helpful",)))
    assert trainer.objectives == ("brief", "helpful")
    trainer.train()
    line = metrics(tmp_path)[1]
    assert line["labels/brief"] == 0
    assert "accuracy/brief" not in line
    assert "no pair has a label for objective 'brief'" in caplog.text
    caplog.clear()
    trainer = DirectTrainer(str(tiny_base), brief, settings(tmp_path), PAIRS)
    assert trainer.objectives == ("brief",)
    assert "are not used: helpful" in caplog.text


def test_a_normaliser_scales_the_rewards(tiny_base, tmp_path):
    normalizer = Normalizer(("helpful", "brief"), (3.0, 1.0), (2.0, 4.0), 10)
    config = settings(tmp_path, margin_scale="none")
    plain = DirectTrainer(str(tiny_base), REWARD, config, PAIRS)
    scaled = DirectTrainer(str(tiny_base), REWARD, config, PAIRS, normalizer=normalizer)
    assert_close(scaled.train_dataset.differences, plain.train_dataset.differences / torch.tensor([2.0, 4.0]))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("use_weighting", True),
        ("ld_alpha", 0.5),
        ("sync_ref_model", True),
        ("padding_free", True),
        ("activation_offloading", True),
        ("router_aux_loss_coef", 0.1),
        ("truncation_mode", "keep_end"),
        ("pad_to_multiple_of", 8),
        ("dataset_num_proc", 2),
        ("model_init_kwargs", {"a": 1}),
        ("trust_remote_code", True),
        ("normalize_rewards", True),
        ("label_smoothing_factor", 0.1),
        ("remove_unused_columns", True),
    ],
)
def test_options_without_effect_are_refused(tmp_path, option, value):
    with pytest.raises(InputError, match=f"{option} cannot be used"):
        settings(tmp_path, **{option: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss_type": ["sigmiod"]}, "unknown loss 'sigmiod': did you mean 'sigmoid'"),
        ({"loss_type": ["aot"]}, "no loss 'aot' here"),
        ({"loss_type": ["nca_pair"], "f_divergence_type": "forward_kl"}, "no form for other divergences"),
        ({"label_smoothing": 0.1}, "label_smoothing goes with loss_type cdpo"),
        ({"rotation": "all"}, "unknown rotation 'all'"),
        ({"min_weight": 0.0}, r"min_weight must be in \(0, 1\]"),
        ({"beta": 0.0}, "beta must be positive"),
        ({"margin_scale": "bradley"}, "did you mean 'bradley_terry'"),
    ],
)
def test_refuses_settings(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        settings(tmp_path, **options)


@pytest.mark.parametrize(
    ("options", "reward", "pairs", "message"),
    [
        ({}, None, PAIRS, "needs a reward for the margins"),
        ({"loss_type": ["nca_pair"]}, REWARD, PAIRS, "loss_type nca_pair takes no margin"),
        ({"min_weight": 0.6}, REWARD, PAIRS, "at most 1 / 2 for 2 objectives"),
        ({"conditioning": "none"}, REWARD, PAIRS, "conditioning none trains one model for one preference"),
        (
            {"preference": "helpful=1.0"},
            REWARD,
            make_pairs(labels=("brief",)),
            "no pair can be trained on at preference",
        ),
        (
            {},
            FunctionReward({"warm": vowels}),
            PAIRS,
            "the labels are of helpful, brief, the reward's objectives are warm",
        ),
        (
            {},
            REWARD,
            make_pairs(n=2, hide=[(i, n) for i in (0, 1) for n in ("helpful", "brief")]),
            "no pair has a label",
        ),
    ],
)
def test_refuses_what_cannot_be_trained(tiny_base, tmp_path, options, reward, pairs, message):
    with pytest.raises(InputError, match=message):
        DirectTrainer(str(tiny_base), reward, settings(tmp_path, **options), pairs)


def test_a_loss_without_margin_serves_one_objective_and_the_library_function_agrees(tiny_base, tmp_path):
    config = settings(tmp_path, loss_type=["nca_pair", "sigmoid"], loss_weights=[0.5, 1.0], preference="brief=1.0")
    trainer = DirectTrainer(str(tiny_base), REWARD, config, PAIRS)
    found = batch_loss(
        trainer.losses, 0.1, *torch.zeros(2, 1, 2), torch.ones(1, 2), torch.tensor([[0.0, 1.0]]),
        torch.tensor([[torch.nan, 1.0]]), torch.zeros(1, 2), 0.05,
    )  # fmt: skip
    assert float(found.total()) == pytest.approx(0.5 * 2 * math.log(2) + math.log(2))
    trainer.train()


def test_labels_of_the_reward_are_its_bradley_terry_probabilities(tiny_base, tmp_path):
    """Drawn labels under `label_source="reward"` train exactly as the probabilities of the scaled reward do, also where a label is missing or at a corner."""
    drawn = [
        {**row, "labels": {"helpful": float(i % 3 > 0), "brief": None if i % 4 == 0 else float(i % 2)}}
        for i, row in enumerate(PAIRS)
    ]
    for preference in (None, "helpful=1.0"):
        ends = []
        for data, changes in ((PAIRS, {}), (Dataset.from_list(drawn), {"label_source": "reward"})):
            config = settings(
                tmp_path / "run", margin_scale="helpful=1,brief=0.5", preference=preference, beta=0.3, **changes
            )
            trainer = DirectTrainer(str(tiny_base), REWARD, config, data)
            trainer.train()
            ends.append(parameters(trainer))
        for name, value in ends[0].items():
            assert_close(value, ends[1][name], atol=1e-5, rtol=1e-4, msg=name)


def test_refuses_reward_labels_without_a_reward(tiny_base, tmp_path):
    with pytest.raises(InputError, match="label_source reward needs a reward"):
        DirectTrainer(str(tiny_base), None, settings(tmp_path, preference="helpful=1.0", label_source="reward"), PAIRS)
    with pytest.raises(InputError, match="did you mean 'reward'"):
        settings(tmp_path, label_source="rewards")


def test_a_prepared_table_is_used_as_it_is(tiny_base, tmp_path):
    """The second run over the same pairs neither tokenizes nor scores anything, and ends where a run of its own does."""
    first = DirectTrainer(str(tiny_base), REWARD, settings(tmp_path / "a"), PAIRS)
    counted = []
    reward = FunctionReward({"helpful": lambda p, c: counted.append(c) or 0.0, "brief": lambda p, c: 0.0})
    again = DirectTrainer(str(tiny_base), reward, settings(tmp_path / "b"), first.train_dataset)
    assert again.train_dataset is first.train_dataset
    first.train()
    again.train()
    assert not counted
    for name, value in parameters(first).items():
        assert torch.equal(value, parameters(again)[name]), name


def test_refuses_a_prepared_table_without_the_rewards_that_are_needed(tiny_base, tmp_path):
    corner = DirectTrainer(str(tiny_base), REWARD, settings(tmp_path / "a", preference="helpful=1.0"), PAIRS)
    with pytest.raises(InputError, match="the prepared pairs hold no rewards"):
        DirectTrainer(str(tiny_base), REWARD, settings(tmp_path / "b"), corner.train_dataset)


def test_the_best_checkpoint_is_loaded_at_the_end(tiny_base, tmp_path):
    """Trainer looks for weights in one file; adapters lie in folders of their own."""
    config = settings(
        tmp_path, eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1, load_best_model_at_end=True,
        metric_for_best_model="loss", greater_is_better=True,  # the worst, so that it is not the last
    )  # fmt: skip
    trainer = DirectTrainer(str(tiny_base), REWARD, config, PAIRS, PAIRS)
    trainer.train()
    best = Path(trainer.state.best_model_checkpoint)
    assert best.name == "checkpoint-1"
    saved = SteerablePolicy.from_pretrained(best)
    for name, value in saved.model.named_parameters():
        if ".lora_" in name:
            assert torch.equal(value, dict(trainer.model.named_parameters())[name]), name


def test_shared_prompts_and_split_batches_train_the_same(tiny_base, tmp_path):
    def end(name, **changes):
        trainer = DirectTrainer(str(tiny_base), REWARD, settings(tmp_path / name, optim="sgd", **changes), PAIRS)
        trainer.train()
        return trainer.train_dataset.reference, parameters(trainer)

    (reference, shared), (own, alone) = end("a"), end("b", share_prompts=False, split_by_length=False)
    assert_close(reference, own, atol=1e-5, rtol=1e-5)
    for name, value in shared.items():
        assert_close(value, alone[name], atol=1e-6, rtol=1e-4)
