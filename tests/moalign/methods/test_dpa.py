import pytest
import torch
from datasets import Dataset
from transformers import TrainerCallback

from moalign.methods.dpa import DPAConfig, DPATrainer
from moalign.oracle import OracleWorld
from moalign.training.directions import DirectionSampler, draw_directions


def settings(folder, world, **changes):
    defaults = {
        "output_dir": str(folder),
        "max_completion_length": world.config.length + 1,
        "normalize_rewards": False,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
    }
    return DPAConfig(**{**defaults, **changes})


@pytest.fixture(scope="module")
def world():
    return OracleWorld.covered(vocabulary=4, length=3, prompts=2, objectives=("helpful", "brief"), seed=3)


def prompts(world):
    return Dataset.from_dict({"prompt": list(world.prompts)})


def test_the_papers_settings(world, tmp_path):
    config = settings(tmp_path, world)
    assert (config.rounds, config.num_generations, config.keep) == (4, 16, 1)
    assert (config.conditioning, config.prompt_style) == ("prompt", "dpa")
    trainer = DPATrainer(world.save(tmp_path / "base"), world.reward, config, prompts(world))
    assert isinstance(trainer.sampler, DirectionSampler)
    assert trainer.sampler.max_angle == 45.0
    assert trainer.policy.conditioning.to_json() == {"kind": "prompt", "adapters": ["policy"], "style": "dpa"}
    story = trainer.describe()
    assert story["method"] == "dpa"
    assert story["paper"].endswith("2402.18571")
    assert story["preferences"] == "sampled, directions within 45° of helpful"


def test_each_completion_is_drawn_under_the_papers_sentence(world, tmp_path):
    """What the model reads before it answers: the sentence with the row's direction, then the prompt."""
    config = settings(tmp_path, world, prompts_per_round=4)
    trainer = DPATrainer(world.save(tmp_path / "base"), world.reward, config, prompts(world))
    trainer.start_round(1)
    for i, row in enumerate(trainer.rows):
        helpful, brief = (round(100 * value) for value in row.weights)
        assert helpful >= 71  # cos 45°, as the authors advise
        told = trainer.policy.tokenizer.decode(trainer.train_dataset[i]["prompt_ids"])
        assert told.endswith(f"weighted rating = helpful*{helpful} + brief*{brief}\n{row.prompt}")
        assert told.startswith("You are a helpful, respectful, and honest assistant")


class AtRoundEnd(TrainerCallback):
    def __init__(self, function):
        self.function = function

    def on_epoch_end(self, args, state, control, **kwargs):
        if round(state.epoch) % args.epochs_per_round == 0:
            self.function()


def ratio(world, policy, n, directions):
    """Mean over directions of the exact v·r that the policy expects, relative to that of best-of-n from the reference."""
    found = []
    for v in directions:
        best = float(world.expected(world.best_of_n(v, n)) @ v.double())
        asked = {"direction": dict(zip(world.objectives, v.tolist(), strict=True))}
        found.append(float(world.expected(world.policy_distribution(policy, asked)) @ v.double()) / best)
    return sum(found) / len(found)


def test_one_round_is_best_of_n_and_more_rounds_exceed_it(world, tmp_path):
    """With a LoRA per objective: a round distils best-of-8 of the reference, the next one that of its own."""
    config = settings(
        tmp_path,
        world,
        conditioning="adapter_mixture",
        rounds=2,
        num_generations=8,
        prompts_per_round=1024,
        epochs_per_round=4,
        per_device_train_batch_size=64,
        generation_batch_size=2048,
        learning_rate=3e-3,
        lr_scheduler_type="constant",
        adam_beta2=0.99,
    )
    directions = draw_directions(8, 2, torch.Generator().manual_seed(5))
    trainer = DPATrainer(world.save(tmp_path / "base"), world.reward, config, prompts(world))
    assert ratio(world, trainer.policy, 8, directions) == pytest.approx(0.0, abs=0.05)  # rewards are centred
    found = []
    trainer.add_callback(AtRoundEnd(lambda: found.append(ratio(world, trainer.policy, 8, directions))))
    trainer.train()
    assert 0.9 < found[0] < 1.1
    assert found[1] > 1.15
