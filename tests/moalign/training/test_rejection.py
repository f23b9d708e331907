import dataclasses
import json
import math

import pytest
import torch
from datasets import Dataset, load_dataset
from torch.testing import assert_close
from transformers import AutoModelForCausalLM
from trl import SFTConfig, SFTTrainer

from frontier.errors import InputError
from moalign.policy import SteerablePolicy
from moalign.scalarize import SmoothTchebycheff
from moalign.training.rejection import RejectionTrainer
from moalign.training.rejection_config import RejectionConfig
from reward_heads import FunctionReward, Normalizer

from ..small_runs import ROLLOUT, SETTINGS, brevity, metrics, parameters

PROMPTS = Dataset.from_dict({"prompt": ["a b", "c d e", "f", "g h ? i", "yes no"]})


def count(letters):
    return lambda prompt, completion: float(sum(word in letters for word in completion.split()))


REWARD = FunctionReward({"helpful": count("abcdefghijklm"), "brief": brevity})


def settings(folder, **changes):
    defaults = {
        **SETTINGS,
        **ROLLOUT,
        "output_dir": str(folder),
        "max_steps": -1,
        "rounds": 2,
        "epochs_per_round": 2,
        "prompts_per_round": 8,
        "per_device_train_batch_size": 4,
        "normalize_rewards": False,
    }
    return RejectionConfig(**{**defaults, **changes})


def round_file(folder, number):
    lines = (folder / "rounds" / f"round-{number}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def batch_of(trainer, *places):
    return trainer.data_collator([trainer.train_dataset[i] for i in places])


@pytest.fixture(scope="module", params=["prompt", "adapter_mixture"])
def trained(request, tiny_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    config = settings(folder, conditioning=request.param, preferences="directions", normalizer_samples=32)
    config.normalize_rewards = True
    trainer = RejectionTrainer(str(tiny_base), REWARD, config, PROMPTS)
    before = parameters(trainer)
    trainer.train()
    trainer.save_model()
    return trainer, before, folder


# ---- a run and what it leaves


def test_every_adapter_trains(trained):
    trainer, before, _ = trained
    after = parameters(trainer)
    names = ["policy"] if trainer.args.conditioning == "prompt" else ["helpful", "brief"]
    assert list(trainer.model.peft_config) == names
    for name in names:
        assert any(not torch.equal(before[n], after[n]) for n in after if f".{name}." in n)
    assert {n for n, p in trainer.model.named_parameters() if p.requires_grad} == set(after)


def test_the_run_folder_is_a_bundle_that_follows_directions(trained):
    trainer, _, folder = trained
    policy = SteerablePolicy.from_pretrained(folder)
    assert policy.conditioning.to_json() == trainer.policy.conditioning.to_json()
    assert policy.normalizer == trainer.normalizer.to_json()
    assert str(policy.default_preference) == "direction:helpful=1.0,brief=0.0"
    directions = ["direction:helpful=0.8,brief=-0.6", "direction:helpful=0.8,brief=0.6"]
    greedy = {"max_new_tokens": 4, "do_sample": False}
    texts = policy.generate(["a b"] * 2, directions, **greedy)
    assert texts == trainer.policy.generate(["a b"] * 2, directions, **greedy)
    assert all(isinstance(text, str) for text in texts)
    assert policy.training["method"] == "rejection"
    assert policy.training["preferences"] == "sampled, directions within 45° of helpful"
    assert "| rounds | 2 |" in (folder / "README.md").read_text()
    assert json.loads((folder / "config.json").read_text())["num_train_epochs"] == 4


def test_each_round_is_logged_and_written(trained):
    _, _, folder = trained
    logged = [line for line in metrics(folder) if "round" in line]
    assert [(line["step"], line["round"]) for line in logged] == [(1, 1), (5, 2)]  # 8 rows in batches of 4, 2 epochs
    for number, line in enumerate(logged, 1):
        rows = round_file(folder, number)
        assert len(rows) == line["kept"] == 8
        assert line["completions"] == 32
        assert line["unknown_groups"] == 0
        assert line["reward_kept"] == pytest.approx(sum(row["value"] for row in rows) / 8, abs=1e-6)
        assert line["reward_kept"] > line["reward"]
        assert {"rewards/helpful/mean", "rewards/brief/mean", "steering_error", "missing/brief"} <= set(line)
    kept = load_dataset("json", data_files=str(folder / "rounds" / "*.jsonl"), split="train", cache_dir=str(folder))
    assert {"prompt", "completion", "preference", "rewards", "value", "round"} <= set(kept.column_names)
    assert set(kept["round"]) == {1, 2}
    assert set(kept["prompt"]) == set(PROMPTS["prompt"])


def test_the_written_value_is_the_direction_times_the_normalised_rewards(trained):
    trainer, _, folder = trained
    for row in round_file(folder, 2):
        raw = REWARD.score([row["prompt"]], [row["completion"]])
        assert row["rewards"] == pytest.approx(dict(zip(REWARD.objectives, raw[0].tolist(), strict=True)))
        direction = torch.tensor(list(row["preference"]["direction"].values()))
        assert row["value"] == pytest.approx(float(trainer.normalizer(raw)[0] @ direction), abs=1e-5)


def test_learns_what_is_kept(tiny_base, tmp_path):
    """A reward that only the choice can teach: the share of one frequent enough word grows round by round."""
    reward = FunctionReward({"good": count(["a", "good"])})
    config = settings(tmp_path, epochs_per_round=4, prompts_per_round=32, num_generations=8)
    RejectionTrainer(str(tiny_base), reward, config, PROMPTS).train()
    first, second = (line["reward"] for line in metrics(tmp_path) if "round" in line)
    assert second > 1.4 * first


# ---- what is kept


def test_a_round_keeps_the_argmax_that_a_loop_finds(tiny_base, tmp_path):
    """Preferences, draws and choice of a round, worked out again from the trainer's parts."""
    config = settings(tmp_path, preferences="directions", max_angle=80.0, primary="brief")
    trainer = RejectionTrainer(str(tiny_base), REWARD, config, PROMPTS)
    drawn = {}
    original = trainer._draw

    def spy(*args):
        drawn["draws"] = original(*args)
        return drawn["draws"]

    trainer._draw = spy
    trainer.start_round(1)
    found = drawn["draws"]
    assert len(found.texts) == 32
    for group, row in enumerate(trainer.rows):
        texts = found.texts[4 * group : 4 * group + 4]
        values = []
        for text in texts:
            words = text.split()
            helpful, brief = sum(word in "abcdefghijklm" for word in words), -len(words)
            values.append(row.weights[0] * helpful + row.weights[1] * brief)
        assert row.completion == texts[values.index(max(values))]
        assert row.value == pytest.approx(max(values), abs=1e-5)
        assert row.weights[1] >= math.cos(math.radians(80.0)) - 1e-6
    assert len({row.completion for row in trainer.rows}) > 2


def test_the_next_round_draws_from_the_trained_policy(tiny_base, tmp_path):
    trainer = RejectionTrainer(str(tiny_base), REWARD, settings(tmp_path), PROMPTS)
    trainer.start_round(1)
    first, state = trainer.rows, trainer.sampler.state()
    for name, value in trainer.model.named_parameters():
        if ".lora_B." in name:
            value.data.add_(0.3)
    trainer.sampler.restore(state)
    trainer.start_round(2)
    moved = trainer.rows
    for name, value in trainer.model.named_parameters():
        if ".lora_B." in name:
            value.data.zero_()
    trainer.sampler.restore(state)
    trainer.start_round(2)
    assert [row.weights for row in moved] == [row.weights for row in trainer.rows]
    assert [row.completion for row in moved] != [row.completion for row in trainer.rows]
    assert first != trainer.rows


def test_drawing_leaves_the_global_random_state_alone(tiny_base, tmp_path):
    trainer = RejectionTrainer(str(tiny_base), REWARD, settings(tmp_path), PROMPTS)
    before = torch.get_rng_state()
    trainer.start_round(1)
    assert torch.equal(before, torch.get_rng_state())


def test_groups_without_a_known_value_are_left_out_and_counted(tiny_base, tmp_path):
    def unless_f(prompt, completion):
        return None if prompt == "f" else float(len(completion))

    partly = FunctionReward({"helpful": unless_f, "brief": unless_f})
    trainer = RejectionTrainer(str(tiny_base), partly, settings(tmp_path, prompts_per_round=10), PROMPTS)
    trainer.train()
    (first, _) = (line for line in metrics(tmp_path) if "round" in line)
    assert (first["unknown_groups"], first["kept"], first["completions"]) == (2, 8, 40)
    assert "f" not in {row["prompt"] for row in round_file(tmp_path, 1)}
    assert len(trainer.train_dataset) == 10  # the first rows come again, so that every epoch has as many updates


def test_a_round_without_any_known_value_stops(tiny_base, tmp_path):
    nothing = FunctionReward({"helpful": lambda p, c: None, "brief": lambda p, c: None})
    trainer = RejectionTrainer(str(tiny_base), nothing, settings(tmp_path), PROMPTS)
    with pytest.raises(
        InputError, match=r"round 1: the reward is not known \(NaN\) for any of the 32 completions of 8"
    ):
        trainer.train()


def test_infinite_rewards_stop_with_the_objective_named(tiny_base, tmp_path):
    class Broken:
        objectives = ("helpful", "brief")

        def score(self, prompts, completions):
            return torch.tensor([[1.0, float("inf")]] * len(prompts))

    trainer = RejectionTrainer(str(tiny_base), Broken(), settings(tmp_path), PROMPTS)
    with pytest.raises(InputError, match="objective 'brief' is inf"):
        trainer.train()


def test_another_scalarizer_chooses_and_a_direction_is_refused_by_it(tiny_base, tmp_path):
    scalarizer = SmoothTchebycheff(torch.tensor([6.0, 0.0]), smoothing=0.5)
    trainer = RejectionTrainer(str(tiny_base), REWARD, settings(tmp_path), PROMPTS, scalarizer=scalarizer)
    trainer.start_round(1)
    for row in trainer.rows:
        own = scalarizer(torch.tensor(row.rewards), torch.tensor(row.weights))
        assert row.value == pytest.approx(float(own), abs=1e-5)
    config = settings(tmp_path, preferences="directions")
    trainer = RejectionTrainer(str(tiny_base), REWARD, config, PROMPTS, scalarizer=scalarizer)
    with pytest.raises(InputError, match="a direction needs Linear"):
        trainer.start_round(1)


# ---- the loss


def test_the_loss_is_the_cross_entropy_of_the_completions(tiny_base, tmp_path):
    """Against the model's own loss, row by row without padding, each under its own preference."""
    trainer = RejectionTrainer(str(tiny_base), REWARD, settings(tmp_path), PROMPTS)
    for name, value in trainer.model.named_parameters():
        if ".lora_B." in name:
            value.data.normal_(generator=torch.Generator().manual_seed(len(name)), std=0.2)
    trainer.start_round(1)
    trainer.model.eval()
    batch = batch_of(trainer, 0, 1, 2, 3)
    total, tokens = 0.0, 0
    with torch.no_grad():
        for row in trainer.rows[:4]:
            prompt = trainer.policy.tokenizer(row.prompt)["input_ids"]
            ids = torch.tensor([[*prompt, *row.ids]])
            labels = ids.clone()
            labels[:, : len(prompt)] = -100
            preference = dict(zip(REWARD.objectives, row.weights, strict=True))
            with trainer.policy.steer(preference) as model:
                total += float(model(input_ids=ids, labels=labels).loss) * len(row.ids)
            tokens += len(row.ids)
        assert len({row.weights for row in trainer.rows[:4]}) == 4
        assert_close(trainer.compute_loss(trainer.model, batch), torch.tensor(total / tokens), atol=1e-5, rtol=1e-5)
        # Of an update in several batches it is the share: the sum over this one's tokens, divided by those of all.
        part = trainer.compute_loss(trainer.model, batch, num_items_in_batch=torch.tensor(2 * tokens))
        assert_close(part, torch.tensor(total / tokens / 2), atol=1e-5, rtol=1e-5)


def test_the_loss_is_trl_sft_on_the_written_rows(tiny_base, tmp_path):
    """TRL's trainer, collator and completion-only loss on `rounds/round-1.jsonl` of an unconditioned run."""
    alone = {"conditioning": "none", "preference": "brief=1.0"}  # which keeps completions that end
    config = settings(tmp_path / "ours", max_completion_length=8, prompts_per_round=40, **alone)
    trainer = RejectionTrainer(str(tiny_base), REWARD, config, PROMPTS)
    trainer.start_round(1)
    tokenizer = trainer.policy.tokenizer

    def whole(text, ids):
        """It has ended, and its text, which has no special tokens, is all of it."""
        return ids[-1] == 2 and tokenizer(text)["input_ids"] == ids[:-1]

    rows = [row for row in round_file(tmp_path / "ours", 1) if whole(row["completion"], row["completion_ids"])]
    # The tokenizer parts words at spaces, so the completion's text is followed by the end, which TRL puts there itself.
    data = Dataset.from_list([{"prompt": f"{row['prompt']} ", "completion": row["completion"]} for row in rows])
    args = SFTConfig(
        output_dir=str(tmp_path / "trl"), report_to=[], use_cpu=True, bf16=False, per_device_train_batch_size=8
    )
    theirs = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(tiny_base),
        args,
        train_dataset=data,
        processing_class=tokenizer,
    )
    expected = theirs.compute_loss(theirs.model.eval(), theirs.data_collator(list(theirs.train_dataset)))
    places = [i for i, row in enumerate(trainer.rows) if whole(row.completion, row.ids)]
    assert len(places) > 5
    assert len({len(trainer.rows[i].ids) for i in places}) > 1
    with torch.no_grad():
        got = trainer.compute_loss(trainer.model.eval(), batch_of(trainer, *places))
    assert_close(got, expected.detach(), atol=1e-6, rtol=1e-6)


def test_dpo_adds_the_textbook_loss_of_best_against_worst(tiny_base, tmp_path):
    config = settings(tmp_path, conditioning="prompt", preferences="directions", dpo_weight=0.7, beta=0.3)
    trainer = RejectionTrainer(str(tiny_base), REWARD, config, PROMPTS)
    for name, value in trainer.model.named_parameters():
        if ".lora_B." in name:
            value.data.normal_(generator=torch.Generator().manual_seed(len(name)), std=0.2)
    trainer.start_round(1)
    trainer.model.eval()
    pairs = [row for row in trainer.rows if row.worst_ids is not None]
    assert len(pairs) > 4
    policy = trainer.policy
    with torch.no_grad():
        expected = []
        for row in pairs:
            ratio = []
            for ids in (row.ids, row.worst_ids):
                weights = torch.tensor([row.weights])
                own = policy.token_log_probs(policy.encode([row.prompt], weights), [ids], weights)[0].sum()
                ref = policy.token_log_probs(policy.encode([row.prompt]), [ids], torch.zeros(1, 2))[0].sum()
                ratio.append(own - ref)
            expected.append(-torch.nn.functional.logsigmoid(0.3 * (ratio[0] - ratio[1])))
        batch = batch_of(trainer, *range(8))
        both = trainer.compute_loss(trainer.model, batch)
        config.dpo_weight = 0.0
        alone = trainer.compute_loss(trainer.model, batch)
    assert_close(both - alone, 0.7 * torch.stack(expected).mean(), atol=1e-5, rtol=1e-4)


def test_accumulated_batches_and_recomputed_activations_end_where_one_batch_does(tiny_base, tmp_path):
    def end(name, **chunks):
        options = {"optim": "sgd", "max_grad_norm": 0.0, "learning_rate": 0.3, "rounds": 1, "epochs_per_round": 1}
        trainer = RejectionTrainer(str(tiny_base), REWARD, settings(tmp_path / name, **options, **chunks), PROMPTS)
        trainer.train()
        return parameters(trainer)

    whole = end("whole", per_device_train_batch_size=8)
    chunked = end("chunked", per_device_train_batch_size=2, gradient_accumulation_steps=4, gradient_checkpointing=True)
    for name, value in whole.items():
        assert_close(value, chunked[name], atol=1e-6, rtol=1e-5)


# ---- resuming


@pytest.mark.parametrize(
    "step", [1, 3, 4, 6]
)  # within an epoch, within a round's 2nd epoch, between rounds, between epochs
def test_resumed_training_is_bit_equal(whole_run, tiny_base, tmp_path, step):
    whole, folder, options = whole_run
    half = RejectionTrainer(str(tiny_base), REWARD, settings(tmp_path, **options), PROMPTS)
    half.train(resume_from_checkpoint=str(folder / f"checkpoint-{step}"))
    for name, value in parameters(whole).items():
        assert torch.equal(value, parameters(half)[name]), name
    assert half.normalizer == whole.normalizer
    assert half.rows == whole.rows
    if step <= 4:
        assert round_file(tmp_path, 2) == round_file(folder, 2)

    def logged(place):
        lines = [line for line in metrics(place) if line["step"] > step and "train_runtime" not in line]
        return [{k: v for k, v in line.items() if "time" not in k} for line in lines]

    assert logged(tmp_path) == logged(folder)


@pytest.fixture(scope="module")
def whole_run(tiny_base, tmp_path_factory):
    """8 updates: rounds of 2 epochs of 2 updates, every one with a checkpoint; dropout draws from the global random state."""
    folder = tmp_path_factory.mktemp("whole")
    options = {"save_strategy": "steps", "save_steps": 1, "conditioning": "prompt", "preferences": "directions"}
    options |= {"dpo_weight": 0.5, "lora_dropout": 0.1, "normalize_rewards": True, "normalizer_samples": 16}
    trainer = RejectionTrainer(str(tiny_base), REWARD, settings(folder, **options), PROMPTS)
    trainer.train()
    return trainer, folder, options


def test_going_on_in_the_same_folder_logs_each_round_once(whole_run, tiny_base, tmp_path):
    import shutil

    _, folder, options = whole_run
    shutil.copytree(folder, tmp_path / "copy")
    trainer = RejectionTrainer(str(tiny_base), REWARD, settings(tmp_path / "copy", **options), PROMPTS)
    trainer.train(resume_from_checkpoint=str(tmp_path / "copy" / "checkpoint-4"))
    assert [line["round"] for line in metrics(tmp_path / "copy") if "round" in line] == [1, 2]


def test_every_checkpoint_is_a_bundle(whole_run):
    _, folder, _ = whole_run
    assert SteerablePolicy.from_pretrained(folder / "checkpoint-3").conditioning.kind == "prompt"


def test_training_again_draws_again(tiny_base, tmp_path):
    trainer = RejectionTrainer(str(tiny_base), REWARD, settings(tmp_path, rounds=1), PROMPTS)
    trainer.train()
    first = trainer.rows
    trainer.train()
    assert trainer.rows != first


# ---- the rest


def test_evaluation_is_the_mean_reward_at_the_same_preferences_each_time(tiny_base, tmp_path):
    config = settings(tmp_path, eval_strategy="epoch", rounds=1)
    trainer = RejectionTrainer(str(tiny_base), REWARD, config, PROMPTS, eval_dataset=PROMPTS)
    once, again = trainer.evaluate(), trainer.evaluate()
    assert once == again
    assert set(once) == {"eval_reward", "eval_rewards/helpful/mean", "eval_rewards/brief/mean", "epoch"}
    trainer.train()
    assert [line["step"] for line in metrics(tmp_path) if "eval_reward" in line] == [2, 4]


def test_conversations(tiny_base, tmp_path):
    talks = Dataset.from_dict({"prompt": [[{"role": "user", "content": text}] for text in ("a b", "c d e")]})
    config = settings(tmp_path, conditioning="prompt", prompt_style="dpa", rounds=1)
    trainer = RejectionTrainer(str(tiny_base), REWARD, config, talks)
    trainer.train()
    (row, *_) = round_file(tmp_path, 1)
    assert row["prompt"] in talks["prompt"]
    assert [turn["role"] for turn in row["completion"]] == ["assistant"]


def test_one_preference_for_all(tiny_base, tmp_path):
    config = settings(tmp_path, conditioning="none", preference="direction:helpful=0.8,brief=-0.6", rounds=1)
    trainer = RejectionTrainer(str(tiny_base), REWARD, config, PROMPTS)
    trainer.train()
    for row in round_file(tmp_path, 1):
        assert row["preference"] == {"direction": pytest.approx({"helpful": 0.8, "brief": -0.6})}
    assert trainer.describe()["preferences"] == "direction:helpful=0.8,brief=-0.6"


def test_weights_are_the_other_learners(tiny_base, tmp_path):
    trainer = RejectionTrainer(str(tiny_base), REWARD, settings(tmp_path, rounds=1), PROMPTS)
    trainer.start_round(1)
    assert all("weights" in row["preference"] for row in round_file(tmp_path, 1))
    assert_close(torch.tensor([row.weights for row in trainer.rows]).sum(1), torch.ones(8))
    assert trainer.policy.default_preference.kind == "weights"


def test_a_given_normaliser_is_taken(tiny_base, tmp_path):
    normalizer = Normalizer(("brief", "helpful"), (0.0, 1.0), (2.0, 4.0), 1)
    config = settings(tmp_path, normalize_rewards=True)
    trainer = RejectionTrainer(str(tiny_base), REWARD, config, PROMPTS, normalizer=normalizer)
    trainer.start_round(1)
    row = trainer.rows[0]
    by_hand = row.weights[0] * (row.rewards[0] - 1) / 4 + row.weights[1] * row.rewards[1] / 2
    assert row.value == pytest.approx(by_hand, abs=1e-5)


def test_the_data_set_cannot_be_read_before_a_round(tiny_base, tmp_path):
    trainer = RejectionTrainer(str(tiny_base), REWARD, settings(tmp_path), PROMPTS)
    with pytest.raises(InputError, match="no round was drawn yet"):
        next(iter(trainer.get_train_dataloader()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": 0}, "rounds must be at least 1, found 0"),
        ({"prompts_per_round": 0}, "prompts_per_round must be at least 1"),
        ({"num_generations": 1}, "keep must be at least 1 and below num_generations \\(1\\), found 1"),
        ({"keep": 4}, "keep must be at least 1 and below num_generations \\(4\\), found 4"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"dpo_weight": -1.0}, "dpo_weight must not be negative"),
        ({"beta": 0.0}, "beta positive"),
        ({"preferences": "direction"}, "unknown preferences 'direction': did you mean 'directions'"),
        ({"num_train_epochs": 7}, "rounds \\* epochs_per_round = 4, found 7"),
        ({"dataloader_persistent_workers": True}, "dataloader_persistent_workers cannot be used"),
        ({"remove_unused_columns": True}, "remove_unused_columns cannot be used"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor cannot be used"),
        ({"train_sampling_strategy": "group_by_length"}, "train_sampling_strategy must be random or sequential"),
        ({"conditioning": "promt"}, "did you mean 'prompt'"),
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        settings(tmp_path, **changes)


def test_settings_can_be_copied(tmp_path):
    config = settings(tmp_path)
    assert dataclasses.replace(config, seed=7).num_train_epochs == 4


def test_refusals(tiny_base, tmp_path):
    with pytest.raises(InputError, match="train_dataset needs a column 'prompt', found text"):
        RejectionTrainer(str(tiny_base), REWARD, settings(tmp_path), Dataset.from_dict({"text": ["a"]}))
    with pytest.raises(InputError, match="train_dataset holds no prompts"):
        RejectionTrainer(str(tiny_base), REWARD, settings(tmp_path), Dataset.from_dict({"prompt": []}))
    with pytest.raises(InputError, match="eval_dataset needs a column 'prompt', found text"):
        RejectionTrainer(
            str(tiny_base), REWARD, settings(tmp_path), PROMPTS, eval_dataset=Dataset.from_dict({"text": ["a"]})
        )
    with pytest.raises(InputError, match="conditioning none trains one model for one preference"):
        RejectionTrainer(
            str(tiny_base), REWARD, settings(tmp_path, conditioning="none", preferences="directions"), PROMPTS
        )
    with pytest.raises(InputError, match="did you mean 'brief'"):
        RejectionTrainer(str(tiny_base), REWARD, settings(tmp_path, preferences="directions", primary="breif"), PROMPTS)
