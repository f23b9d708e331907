import copy
import itertools

import pytest
import torch
from torch.testing import assert_close
from transformers import Trainer

from frontier.errors import InputError
from reward_heads.batching import PairCollator
from reward_heads.sampling import PromptGroupedSampler, same_prompt
from reward_heads.training import RewardHeadsTrainer

from .conftest import make_pairs
from .test_training import config


def ranking(prompts=3, completions=4):
    """Every pair of a prompt's completions, as people rank them, and ratings of two."""
    rows = []
    for p in range(prompts):
        texts = [" ".join(["kind"] * (i + 1)) for i in range(completions)]
        for a, b in itertools.combinations(texts, 2):
            rows.append(
                {
                    "prompt": f"ask {p} :",
                    "completion_a": a,
                    "completion_b": b,
                    "labels": {"kind": 1.0, "brief": 0.0, "loud": 0.5},
                }
            )
        for i in (0, 1):
            rows.append({"prompt": f"ask {p} :", "completion": texts[i], "scores": {"kind": p + 0.5 * i}})
    return rows


def test_prompts_are_known_by_their_words_and_messages():
    message = [{"role": "user", "content": "a"}]
    other = [{"content": "a", "role": "user"}]
    assert same_prompt(["a", "b", "a", message, other, "b"]) == [0, 1, 0, 3, 3, 1]


def test_an_epoch_holds_every_row_once_and_prompts_together_in_a_new_order():
    groups = [0, 1, 0, 3, 1, 0, 3]
    torch.manual_seed(0)
    sampler = PromptGroupedSampler(groups)
    epochs = [list(sampler) for _ in range(20)]
    for order in epochs:
        assert sorted(order) == list(range(7)) == list(range(len(sampler)))
        assert len([key for key, _ in itertools.groupby(groups[i] for i in order)]) == 3
    assert len({tuple(order) for order in epochs}) > 5
    torch.manual_seed(0)
    assert list(PromptGroupedSampler(groups)) == epochs[0]


def test_a_text_that_comes_again_is_read_once(reward, tmp_path):
    trainer = RewardHeadsTrainer(reward, config(tmp_path), ranking(1))
    batch = PairCollator(trainer.reward)(trainer.tokenized.items)
    assert len(batch["input_ids"]) == 4  # 6 pairs and 2 ratings are 14 texts
    assert batch["texts"].tolist() == [0, 0, 0, 1, 1, 2, 0, 1, 1, 2, 3, 2, 3, 3]


def test_reading_once_changes_neither_loss_nor_gradient(reward, tmp_path):
    trainer = RewardHeadsTrainer(reward, config(tmp_path), ranking(2))
    batch = PairCollator(trainer.reward)(trainer.tokenized.items)
    plain = copy.copy(batch)
    plain["input_ids"], plain["attention_mask"] = (
        batch[name][batch["texts"]] for name in ("input_ids", "attention_mask")
    )
    plain["texts"] = torch.arange(len(batch["texts"]))
    found = []
    for each in (batch, plain):
        trainer.model.zero_grad()
        loss = trainer.compute_loss(trainer.model, each)
        loss.backward()
        found.append((loss.detach(), [p.grad.clone() for p in trainer.model.parameters() if p.grad is not None]))
    assert_close(found[0][0], found[1][0])
    assert len(found[0][1]) > 3
    for one, two in zip(found[0][1], found[1][1], strict=True):
        assert_close(one, two, atol=1e-6, rtol=1e-4)


def test_the_trainer_groups_by_prompt_and_learns(reward, tmp_path):
    trainer = RewardHeadsTrainer(
        reward, config(tmp_path, train_sampling_strategy="group_by_prompt", per_device_train_batch_size=8), ranking(5)
    )
    sizes = [len(batch["input_ids"]) for batch in trainer.get_train_dataloader()]
    assert sizes == [4] * 5
    trainer.train()


def test_other_orders_are_still_those_of_transformers(reward, tmp_path):
    trainer = RewardHeadsTrainer(reward, config(tmp_path, train_sampling_strategy="random"), make_pairs(20))
    assert hasattr(Trainer, "_get_train_sampler"), (
        "transformers renamed the hook that reward_heads/training.py overrides"
    )
    assert type(trainer._get_train_sampler()).__name__ == "RandomSampler"


def test_refuses_an_unknown_order(tmp_path):
    with pytest.raises(InputError, match="group_by_prompt"):
        config(tmp_path, train_sampling_strategy="group_by_promt")
