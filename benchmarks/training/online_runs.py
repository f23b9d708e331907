"""The same online run in TRL's trainer and in ours: model, prompts, LoRA, reward, optimizer and the number of completions are the same."""

import contextlib
import math
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from transformers.utils import logging
from trl import GRPOConfig, GRPOTrainer

from moalign.training.online import OnlineConfig, OnlineTrainer
from reward_heads import FunctionReward

NAMES = ("helpful", "brief", "warm")
# Token ids with a meaning; the others are words.
PAD, END, FIRST_WORD = 0, 1, 2


@dataclass(frozen=True)
class Setting:
    """Of one comparison.

    Args:
        hidden (`int`), layers (`int`), vocabulary (`int`): of the Llama.
        prompt (`tuple[int, int]`): tokens of a prompt, uniformly.
        mean (`int`): tokens after which a completion ends on average; lengths are geometric, about as those of answers in HH-RLHF are.
        longest (`int`): tokens at which it is cut.
        prompts (`int`), group (`int`): of a step, and completions of each.
    """

    hidden: int = 256
    layers: int = 4
    vocabulary: int = 4096
    prompt: tuple[int, int] = (32, 64)
    mean: int = 48
    longest: int = 128
    prompts: int = 4
    group: int = 8

    @property
    def completions(self) -> int:
        """Of a step."""
        return self.prompts * self.group

    def save(self, folder: Path) -> Path:
        """A random Llama with a tokenizer of one token a word, whose completions end as `mean` says."""
        torch.manual_seed(0)
        heads = max(1, self.hidden // 64)
        config = LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.hidden * 8 // 3 // 32 * 32,
            num_hidden_layers=self.layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=512,
            initializer_range=0.05,
            bos_token_id=None,
            eos_token_id=END,
            pad_token_id=PAD,
        )
        model: Any = LlamaForCausalLM(config)
        _end_after(model, self.mean)
        model.save_pretrained(folder)
        core = Tokenizer(models.WordLevel({f"w{i}": i for i in range(self.vocabulary)}, unk_token=f"w{FIRST_WORD}"))
        core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        special = {"pad_token": f"w{PAD}", "eos_token": f"w{END}", "unk_token": f"w{FIRST_WORD}"}
        PreTrainedTokenizerFast(tokenizer_object=core, padding_side="left", **special).save_pretrained(folder)
        return folder

    def dataset(self) -> Dataset:
        """Prompts of random words."""
        draw = random.Random(1)
        lengths = [draw.randint(*self.prompt) for _ in range(64)]
        words = (range(n) for n in lengths)
        return Dataset.from_dict(
            {"prompt": [" ".join(f"w{draw.randrange(FIRST_WORD, self.vocabulary)}" for _ in n) for n in words]}
        )

    def shared(self, out: Path) -> dict[str, Any]:
        """The settings that TRL's and ours have in common."""
        return {
            "output_dir": str(out),
            "per_device_train_batch_size": self.completions,
            "num_generations": self.group,
            "max_completion_length": self.longest,
            "learning_rate": 1e-5,  # so small that the lengths stay as they are
            "lr_scheduler_type": "constant",
            "beta": 0.05,
            "temperature": 1.0,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "bf16": False,
            "gradient_checkpointing": False,
            "seed": 0,
        }


def _end_after(model: Any, mean: int) -> None:
    """One coordinate of the residual stream is the same for every token, and the ending token's logit reads it alone: 1 / mean everywhere, about."""
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 1.0
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0
            layer.mlp.down_proj.weight[0] = 0
        head = model.lm_head.weight
        head[[PAD, END]] = 0
        ids = torch.randint(FIRST_WORD, len(head), (8, 32))
        constant = float(model.model(ids).last_hidden_state[..., 0].mean())
        others = model(ids).logits[..., FIRST_WORD:].logsumexp(-1).mean()
        head[END, 0] = (float(others) - math.log(mean - 1)) / constant
        head[PAD, 0] = -30.0 / constant  # never


def score(completion: str) -> float:
    """A reward that varies between completions and costs nothing."""
    words = completion.split()
    return sum(word.endswith("7") for word in words) / (1 + len(words))


def _reward(completions: list[str], **_: Any) -> list[float | None]:
    return [score(completion) for completion in completions]


def trl(base: Path, out: Path, setting: Setting) -> GRPOTrainer:
    """GRPO by TRL."""
    return GRPOTrainer(
        LlamaForCausalLM.from_pretrained(base),
        _reward,
        GRPOConfig(**setting.shared(out)),
        setting.dataset(),
        processing_class=PreTrainedTokenizerFast.from_pretrained(base),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


def judged(seconds: float) -> Callable[[str, str], float]:
    """The same reward from someone who takes `seconds` a completion, and none of this machine's cores."""

    def judge(prompt: str, completion: str) -> float:
        if seconds:
            sleep(seconds)
        return score(completion)

    return judge


def ours(
    base: Path, out: Path, setting: Setting, objectives: int = 1, wait: float = 0.0, **changes: Any
) -> OnlineTrainer:
    """RLOO by our trainer: one LoRA for one objective, or one for each of several, mixed by a preference per prompt; `wait` seconds for each reward."""
    reward = FunctionReward(dict.fromkeys(NAMES[:objectives], judged(wait)))
    conditioning = "none" if objectives == 1 else "adapter_mixture"
    own = {"lora_r": 16, "lora_alpha": 32, "normalize_rewards": False, "conditioning": conditioning}
    return OnlineTrainer(
        str(base), reward, OnlineConfig(**{**setting.shared(out), **own, **changes}), setting.dataset()
    )


@dataclass
class Clock(TrainerCallback):
    """Seconds of a trainer's steps, and of parts of them.

    Args:
        trainer: gets the callback, and stop watches around its helpers.
    """

    trainer: Any
    steps: list[float] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.trainer.add_callback(self)
        for part, owner, name in (
            ("rollout", self.trainer, "_generate_single_turn"),
            ("scoring", self.trainer, "_get_per_token_logps_and_entropies"),
            ("backward", self.trainer.accelerator, "backward"),
        ):
            setattr(owner, name, self._timed(part, getattr(owner, name)))

    def _timed(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                self.parts[part] = self.parts.get(part, 0.0) + perf_counter() - started

        return timed

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Before the batch's rollout."""
        self._started = perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """After the optimizer's step."""
        self.steps.append(perf_counter() - self._started)

    def run(self, steps: int) -> float:
        """Train for so many steps; their seconds without what starts and ends a run."""
        self.trainer.args.max_steps = steps
        self.steps.clear()
        with quiet():
            self.trainer.train()
        return sum(self.steps)

    def tokens(self) -> list[float]:
        """Tokens per completion in each of the last run's steps."""
        return [x["completions/mean_length"] for x in self.trainer.state.log_history if "completions/mean_length" in x]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what trainers print."""
    logging.disable_progress_bar()
    with contextlib.redirect_stdout(None), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
