"""The same run on pairs in TRL's trainer and in ours: model, data, order, LoRA, loss and optimizer are the same."""

import contextlib
import logging
import math
import random
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from transformers.utils import logging as transformers_logging
from trl import DPOConfig, DPOTrainer

from moalign.training.direct import DirectConfig, DirectTrainer
from reward_heads import FunctionReward

NAMES = ("helpful", "brief", "warm")
# Words of prompts and of answers in HH-RLHF at the quantiles 0, 0.05, ..., 1 (1934 pairs), and tokens per word.
_PROMPTS = (3, 7, 9, 12, 15, 20, 28, 37, 44, 53, 63, 73, 82, 94, 107, 120, 140, 164, 201, 251, 400)
_ANSWERS = (1, 4, 7, 9, 11, 13, 15, 17, 20, 23, 26, 30, 34, 39, 44, 49, 57, 67, 81, 110, 250)
_TOKENS_PER_WORD = 1.3


@dataclass(frozen=True)
class Setting:
    """Of one comparison.

    Args:
        hidden (`int`), layers (`int`), vocabulary (`int`): of the Llama.
        batch (`int`): pairs a step.
        length (`int`): tokens of a prompt with its answer; half of them are the prompt.
        varied (`bool`): lengths as real data has them instead.
    """

    hidden: int = 256
    layers: int = 4
    vocabulary: int = 4096
    batch: int = 8
    length: int = 256
    varied: bool = False

    def pairs(self, count: int) -> Dataset:
        """TRL preference rows of random words; a word is a token, and the end of a text one more."""
        draw = random.Random(1)

        def text(tokens: int) -> str:
            return " ".join(f"w{draw.randrange(8, self.vocabulary)}" for _ in range(tokens))

        rows = []
        for _ in range(count):
            prompt, a, b = self.length // 2, self.length // 2 - 1, self.length // 2 - 1
            if self.varied:
                prompt, a, b = (_drawn(of, draw, self.length / 256) for of in (_PROMPTS, _ANSWERS, _ANSWERS))
            rows.append({"prompt": text(prompt), "chosen": " " + text(a), "rejected": " " + text(b)})
        return Dataset.from_list(rows)

    def save(self, folder: Path) -> Path:
        """The base model with its tokenizer."""
        if folder.exists():
            return folder
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.hidden * 8 // 3 // 32 * 32,
            num_hidden_layers=self.layers,
            num_attention_heads=max(1, self.hidden // 64),
            num_key_value_heads=max(1, self.hidden // 64),
            max_position_embeddings=2048,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
        words = {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>"])}
        words |= {f"w{i}": i for i in range(4, self.vocabulary)}
        core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
        core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        PreTrainedTokenizerFast(
            tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
        ).save_pretrained(folder)
        return folder


def _drawn(quantiles: Sequence[int], draw: random.Random, scale: float) -> int:
    """A length in tokens, by the inverse of its distribution function."""
    at = draw.random() * (len(quantiles) - 1)
    low = int(at)
    words = quantiles[low] + (at - low) * (quantiles[low + 1] - quantiles[low])
    return max(2, round(words * _TOKENS_PER_WORD * scale))


def _shared(out: Path, setting: Setting, steps: int) -> dict[str, Any]:
    """What TRL's and our settings have in common."""
    return {
        "output_dir": str(out),
        "max_steps": steps,
        "per_device_train_batch_size": setting.batch,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "beta": 0.1,
        "max_length": None,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "seed": 0,
    }


def ours(base: Path, out: Path, setting: Setting, pairs: Dataset, steps: int, **changes: Any) -> DirectTrainer:
    """DPO by our trainer, one objective."""
    config = DirectConfig(
        **{**_shared(out, setting, steps), "lora_r": 16, "lora_alpha": 32, "cache_dir": "off", **changes}
    )
    named = pairs.add_column("objective", [NAMES[0]] * len(pairs))
    return DirectTrainer(str(base), None, config, named)


def steerable(base: Path, out: Path, setting: Setting, pairs: Dataset, steps: int, **changes: Any) -> DirectTrainer:
    """MODPO over three objectives; each row with weights of its own unless `changes` say otherwise."""
    config = {
        **_shared(out, setting, steps),
        "lora_r": 16,
        "lora_alpha": 32,
        "cache_dir": "off",
        "margin_scale": "none",
    }
    rows = [
        {"prompt": r["prompt"], "completion_a": r["chosen"], "completion_b": r["rejected"], "labels": dict.fromkeys(NAMES, 1.0)}
        for r in pairs
    ]  # fmt: skip
    reward = FunctionReward(dict.fromkeys(NAMES, _nothing))
    return DirectTrainer(str(base), reward, DirectConfig(**{**config, **changes}), Dataset.from_list(rows))


def _nothing(prompt: Any, completion: Any) -> float:
    return 0.0


def trl(
    base: Path, out: Path, setting: Setting, pairs: Dataset, steps: int, start: Any = None, **changes: Any
) -> DPOTrainer:
    """DPO by TRL's trainer with the adapter that ours starts from."""
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(base)
    trainer: Any = DPOTrainer(
        LlamaForCausalLM.from_pretrained(base),
        args=DPOConfig(**{**_shared(out, setting, steps), **changes}),
        train_dataset=pairs,
        processing_class=tokenizer,
        peft_config=lora,
    )
    if start is not None:
        trainer.model.load_state_dict(start, strict=False)
    return trainer


def adapter_of(trainer: Any) -> dict[str, Any]:
    """The adapter of our trainer under TRL's names."""
    found = {n: p.detach().clone() for n, p in trainer.model.named_parameters() if ".lora_" in n}
    return {name.replace(f".{NAMES[0]}.", ".default."): value for name, value in found.items()}


class StepClock(TrainerCallback):
    """Notes when steps begin and end."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.ended: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Before a step."""
        self.begun.append(perf_counter())

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """After it."""
        self.ended.append(perf_counter())


def train_seconds(trainer: Any, skip: int = 1) -> tuple[float, list[float]]:
    """Seconds a step of one call of `train`, the first `skip` steps left out, and the losses of all steps."""
    clock, before = StepClock(), len(trainer.state.log_history)
    trainer.add_callback(clock)
    trainer.train()
    trainer.remove_callback(clock)
    history = trainer.state.log_history
    losses = [line["loss"] for line in history[before if len(history) > before else 0 :] if "loss" in line]
    counted = len(clock.ended) - skip
    return (clock.ended[-1] - clock.begun[skip]) / counted, losses


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No bars and notes between the rows."""
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    disable_progress_bars()
    logging.getLogger("moalign").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def flops(trainer: DirectTrainer, setting: Setting, pairs: Dataset) -> float:
    """Floating-point operations that a step needs at least, a mean: each prompt once, no padding, frozen weights without gradients of their own."""
    hidden, rank = setting.hidden, 16
    middle = hidden * 8 // 3 // 32 * 32
    frozen = 4 * hidden * hidden + 3 * hidden * middle
    thin = rank * (4 * 2 * hidden + 3 * (hidden + middle))
    total = 0.0
    for row in pairs:
        prompt, a, b = (len(row[name].split()) for name in ("prompt", "chosen", "rejected"))
        a, b = a + 1, b + 1
        tokens, seen = prompt + a + b, prompt * prompt / 2 + prompt * (a + b) + (a * a + b * b) / 2
        # Forward and the gradient of the input; of the adapters also their own.
        total += setting.layers * (tokens * (4 * frozen + 6 * thin) + 3 * 4 * seen * hidden)
        total += 4 * (a + b) * setting.vocabulary * hidden
    return total / len(pairs) * setting.batch


def matmul_rate(setting: Setting, tokens: int, seconds: float = 1.0) -> float:
    """Floating-point operations per second that products of this model's shapes reach here."""
    hidden, middle = setting.hidden, setting.hidden * 8 // 3 // 32 * 32
    x, up, down = torch.randn(tokens, hidden), torch.randn(hidden, middle), torch.randn(middle, hidden)
    done, started = 0, perf_counter()
    while (took := perf_counter() - started) < seconds or not done:
        x @ up @ down
        done += 1
    return 4 * tokens * hidden * middle * done / took if math.isfinite(took) else 0.0
