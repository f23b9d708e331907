"""A small random Llama and three adapters, on disk as anybody's would be, and the policies that are served of them."""

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.utils import logging

from moalign.conditioning.adapter_mixture import MixtureConditioning
from moalign.policy import SteerablePolicy
from moalign.preference import Preference

NAMES = ("helpful", "brief", "warm")
RANK = 16
TARGETS: dict[str, Any] = {"all": "all-linear", "qv": ["q_proj", "v_proj"]}


@dataclass(frozen=True)
class Size:
    """Of a Llama.

    Args:
        hidden (`int`), layers (`int`), vocabulary (`int`): of the model; heads of 64, the middle of an MLP 2.7 times as wide as the rest.
        context (`int`): positions of the longest prompt with its answer, which bounds the cache too.
        dtype (`str`): of the base.
    """

    hidden: int = 512
    layers: int = 8
    vocabulary: int = 4096
    context: int = 512
    dtype: str = "float32"

    def config(self) -> LlamaConfig:
        """The model's. No token ends an answer: every answer is as long as it may be."""
        return LlamaConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.hidden,
            intermediate_size=self.hidden * 8 // 3 // 32 * 32,
            num_hidden_layers=self.layers,
            num_attention_heads=max(1, self.hidden // 64),
            num_key_value_heads=max(1, self.hidden // 64),
            max_position_embeddings=self.context,
            initializer_range=0.05,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=0,
        )


SMALL = Size()
TINY = Size(hidden=64, layers=2, context=128)
LARGE = Size(hidden=2048, layers=16, vocabulary=32_000, context=1024, dtype="bfloat16")


def served_size(quick: bool) -> Size:
    """Of the model that is timed: larger where there is a GPU."""
    if quick:
        return TINY
    return LARGE if torch.cuda.is_available() else SMALL


def quiet() -> None:
    """No bars and notes between the rows."""
    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")


def save(folder: Path, size: Size) -> Path:
    """Write `base/` with its tokenizer (one token a word: w0, w1, ...) and a plain PEFT folder for each objective and kind of target, such as `all/helpful`."""
    torch.manual_seed(0)
    base: Any = LlamaForCausalLM(size.config()).to(getattr(torch, size.dtype))
    base.save_pretrained(folder / "base")
    vocabulary = {f"w{i}": i for i in range(size.vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="w0", unk_token="w0", padding_side="left"
    ).save_pretrained(folder / "base")
    for kind, targets in TARGETS.items():
        model = None
        for k, name in enumerate(NAMES):
            torch.manual_seed(k + 1)
            config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=targets, init_lora_weights=False)
            if model is None:
                model = get_peft_model(LlamaForCausalLM.from_pretrained(folder / "base"), config, adapter_name=name)
            else:
                model.add_adapter(name, config)
        assert model is not None
        model.save_pretrained(str(folder / kind))
    return folder


def device() -> str:
    """A GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def policy(folder: Path, kind: str) -> SteerablePolicy:
    """What is served: `all` and `qv` are steered, `base` has no adapters.

    Adapters of a base in half precision are served in its dtype, as everybody else does.
    """
    if kind == "base":
        loaded: Any = LlamaForCausalLM.from_pretrained(folder / "base")
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "base")
        return BasePolicy(loaded.to(device()), tokenizer)
    adapters = {name: folder / kind / name for name in NAMES}
    steered = SteerablePolicy.from_pretrained(folder / "base", adapters, device=device())
    steered.model.to(steered.base.dtype)
    return steered


class _NoMixture:
    """Where the engine looks for adapters that it may keep stacked."""

    def frozen(self) -> AbstractContextManager[None]:
        """Nothing to keep."""
        return nullcontext()


class BasePolicy(SteerablePolicy):
    """The base model without PEFT around it, for the same engine and API: preferences are read and checked, and change nothing.

    Args:
        model (`PreTrainedModel`): plain, as transformers loads it.
        tokenizer: its own.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
        self.model = cast("Any", model.eval().requires_grad_(False))
        self.tokenizer = tokenizer
        self.objectives = NAMES
        self.conditioning = MixtureConditioning(NAMES)
        self.mixture = cast("Any", _NoMixture())
        self.normalizer = None
        self.training = {}
        self.default_preference = Preference.uniform(NAMES)

    @property
    def base(self) -> PreTrainedModel:
        """The model itself."""
        return cast("PreTrainedModel", self.model)

    def steer_rows(self, weights: Tensor) -> AbstractContextManager[None]:
        """Nothing to steer."""
        return nullcontext()


class Merged:
    """One model whose weights become W0 + ΔW(w) for one request after the other, in one fused pass a layer: what a server without weights per row does.

    Args:
        policy (`SteerablePolicy`): steered; its base's weights are written over, so use it for nothing else.
    """

    def __init__(self, policy: SteerablePolicy) -> None:
        self.policy = policy
        self._layers = [
            (path, layer, layer.get_base_layer().weight.detach().clone())
            for path, layer in policy.mixture.layers.items()
        ]

    @contextmanager
    def at(self, weights: Tensor) -> Iterator[Any]:
        """The model at these `[K]` weights; its adapters are off."""
        with torch.no_grad():
            for path, layer, original in self._layers:
                factors = self.policy.mixture.factors(path, weights.tolist())
                target = layer.get_base_layer().weight
                if factors is None:
                    target.copy_(original)
                else:
                    torch.addmm(original, *factors, out=target.data)
        with self.policy.model.disable_adapter():
            yield self.policy.base
