import math

import pytest
import torch
from datasets import Dataset

from reward_heads.functions import FunctionReward
from reward_heads.trl_functions import as_reward_funcs

from .conftest import make_base, make_tokenizer


class Counting:
    objectives = ("long", "unknown", "asked")

    def __init__(self):
        self.calls = 0

    def score(self, prompts, completions):
        self.calls += 1
        rows = [[len(c), math.nan, len(p)] for p, c in zip(prompts, completions, strict=True)]
        return torch.tensor(rows, dtype=torch.float32)


def test_one_scoring_for_all_objectives_of_a_batch():
    reward = Counting()
    functions = as_reward_funcs(reward)
    batch = {"prompts": ["p", "pp"], "completions": ["ccc", "c"], "completion_ids": [[1], [2]], "trainer_state": None}
    assert [function(**batch) for function in functions] == [[3.0, 1.0], [None, None], [1.0, 2.0]]
    assert reward.calls == 1
    # Recognised by content: the same texts in new lists are the same batch, other texts are another.
    functions[0](prompts=["p", "pp"], completions=["ccc", "c"])
    assert reward.calls == 1
    assert functions[2](prompts=["p", "ppp"], completions=["ccc", "c"]) == [1.0, 3.0]
    assert reward.calls == 2


def test_the_caller_may_change_its_lists():
    reward = Counting()
    functions = as_reward_funcs(reward)
    completions = ["ccc"]
    got = functions[0](prompts=["p"], completions=completions)
    got[0] = 99.0
    assert functions[0](prompts=["p"], completions=completions) == [3.0]
    completions[0] = "c"
    assert functions[0](prompts=["p"], completions=completions) == [1.0]


def test_trl_sees_the_objectives_names():
    utils = pytest.importorskip("trl.trainer.utils")
    functions = as_reward_funcs(Counting())
    assert [utils.get_callable_name(function) for function in functions] == ["long", "unknown", "asked"]
    assert not any(utils.is_async_callable(function) for function in functions)


def test_conversational_batches():
    reward = FunctionReward({"long": lambda p, c: len(c)})
    prompts = [[{"role": "user", "content": "Hi"}]] * 2
    completions = [[{"role": "assistant", "content": "abc"}], [{"role": "assistant", "content": ""}]]
    assert as_reward_funcs(reward)[0](prompts=prompts, completions=completions) == [3.0, 0.0]


def test_trains_with_grpo(tmp_path):
    """The real caller: TRL's own trainer logs every objective under its name and asks for one scoring per batch."""
    from trl import GRPOConfig, GRPOTrainer

    reward = Counting()
    reward.objectives = ("long", "short", "asked")
    reward.score = lambda prompts, completions: (
        setattr(reward, "calls", reward.calls + 1)
        or torch.tensor(
            [[len(c), -len(c), len(p)] for p, c in zip(prompts, completions, strict=True)], dtype=torch.float32
        )
    )
    args = GRPOConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        report_to="none",
        max_steps=2,
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=4,
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(
        model=make_base(),
        reward_funcs=as_reward_funcs(reward),
        args=args,
        train_dataset=Dataset.from_list([{"prompt": "ask me"}, {"prompt": "the cat"}]),
        processing_class=make_tokenizer(),
    )
    trainer.train()
    logged = trainer.state.log_history[0]
    assert {f"rewards/{name}/mean" for name in reward.objectives} <= set(logged)
    assert logged["rewards/long/mean"] == -logged["rewards/short/mean"]
    assert reward.calls == 2
