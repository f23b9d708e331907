"""How much memory training and serving of a steerable policy takes, before anything is downloaded: `python -m moalign.training.memory`."""

import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig

from frontier.errors import InputError, unknown_name
from frontier.realize.adapters import AdapterMixture
from frontier.realize.adapters.rows import RowWeights, opened
from moalign.conditioning.adapter_mixture import add_adapters

GIB = 2**30
# Numbers that an optimizer keeps of each parameter, and one counter of each tensor.
OPTIMIZERS = {"adamw": 2, "sgd": 0}
SHARDED = ("none", "fsdp2")
# Logits that exist at once on a GPU (see `token_log_probs`), and how often: as they are, as probabilities, in between.
_AT_ONCE, _COPIES = 2**26, 3


@dataclass(frozen=True)
class MemorySettings:
    """What the figures depend on beside the model.

    Args:
        objectives (`int`, *optional*, defaults to 4): K, one LoRA each.
        lora_r (`int`, *optional*, defaults to 16): rank of each LoRA.
        target_modules (`str` or `tuple[str, ...]`, *optional*, defaults to `"all-linear"`): where the LoRAs go.
        dtype (`torch.dtype`, *optional*, defaults to bfloat16): of the base; with a half-precision base activations are in half precision where autocast makes them so.
        optimizer (`str`, *optional*, defaults to `"adamw"`): or sgd. Adapters, their gradients and the optimizer are in float32.
        records (`int`, *optional*, defaults to 4): prompts per device and step.
        completions (`int`, *optional*, defaults to 2): of each prompt; 2 for pairs.
        prompt_tokens, completion_tokens (`int`, *optional*, default to 512): lengths.
        share_prompts (`bool`, *optional*, defaults to `True`): each prompt is computed once.
        gradient_checkpointing (`bool`, *optional*, defaults to `True`): activations are computed again, layer by layer.
        shard (`str`, *optional*, defaults to `"none"`): `fsdp2`: parameters, gradients and optimizer lie in parts over the processes.
        processes (`int`, *optional*, defaults to 1): how many GPUs.
        serving_rows, serving_tokens (`int`, *optional*, default to 32 and 2048): requests at once and tokens of each, in serving.

    Raises:
        InputError: a size that is not positive, an unknown optimizer or way to shard.
    """

    objectives: int = 4
    lora_r: int = 16
    target_modules: str | tuple[str, ...] = "all-linear"
    dtype: torch.dtype = torch.bfloat16
    optimizer: str = "adamw"
    records: int = 4
    completions: int = 2
    prompt_tokens: int = 512
    completion_tokens: int = 512
    share_prompts: bool = True
    gradient_checkpointing: bool = True
    shard: str = "none"
    processes: int = 1
    serving_rows: int = 32
    serving_tokens: int = 2048

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, int) and not isinstance(value, bool) and value < 1:
                raise InputError(f"{name} must be at least 1, found {value}")
        if self.optimizer not in OPTIMIZERS:
            raise unknown_name("optimizer", self.optimizer, OPTIMIZERS)
        if self.shard not in SHARDED:
            raise unknown_name("shard", self.shard, SHARDED)

    @property
    def rows(self) -> tuple[int, int]:
        """Rows of a step's forward and tokens of each, without padding."""
        if self.share_prompts:
            return self.records, self.prompt_tokens + self.completions * self.completion_tokens
        return self.records * self.completions, self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Memory:
    """Bytes on each device.

    Args:
        base (`int`): parameters of the base model; sharded, this device's part, and what is gathered at once: embedding, output layer, and two layers.
        adapters (`int`): parameters of all adapters, in float32.
        gradients (`int`): of the adapters.
        optimizer (`int`): its state.
        activations (`int`): what a step keeps between forward and backward, the adapters of each layer side by side among it.
        logits (`int`): of the completions' tokens: the gradients by hidden states that the fused output layer keeps, and the logits that exist at once.
        kv_cache (`int`): of serving: keys and values of all requests.
        policy (`int`): of serving: base and adapters, whole.
    """

    base: int
    adapters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    kv_cache: int
    policy: int

    @property
    def training(self) -> int:
        """Everything but the cache; fragments and buffers of communication come on top (10 % is a good guess)."""
        return self.base + self.adapters + self.gradients + self.optimizer + self.activations + self.logits

    @property
    def serving(self) -> int:
        """The policy and the cache."""
        return self.policy + self.kv_cache


def memory(config: PreTrainedConfig, settings: MemorySettings | None = None) -> Memory:
    """What training and serving of a steerable policy takes, in bytes per device.

    Parameters, gradients, optimizer and cache are exact. Activations are those of the real forward pass, run on tensors that have shapes and no content, over
    one and two layers and continued to all of them: what autograd saves, each storage once.

    Args:
        config (`PreTrainedConfig`): of a causal language model of transformers, all of whose layers are alike.
        settings (`MemorySettings`, *optional*): the run.

    Raises:
        InputError: the configuration is of no causal language model.

    Example:
        >>> found = memory(LlamaConfig(hidden_size=64, num_hidden_layers=2), MemorySettings(objectives=2))
        >>> found.gradients == found.adapters
        True
    """
    settings = settings or MemorySettings()
    model, _ = _policy(config, settings)
    trained = [p for p in model.parameters() if p.requires_grad]
    base = _frozen_bytes(model)
    numbers = sum(p.numel() for p in trained)
    states = OPTIMIZERS[settings.optimizer]
    optimizer = 4 * (states * numbers + (len(trained) if states else 0))
    parts = settings.processes if settings.shard == "fsdp2" else 1
    rows, tokens = settings.rows
    text = config.get_text_config()
    scored = settings.records * settings.completions * settings.completion_tokens
    logits = 4 * scored * text.hidden_size + _COPIES * 4 * min(_AT_ONCE, scored * text.vocab_size)
    return Memory(
        base=base if parts == 1 else base // parts + _gathered_bytes(config, settings, base),
        adapters=4 * numbers // parts,
        gradients=4 * numbers // parts,
        optimizer=optimizer // parts,
        activations=activation_bytes(config, settings, rows, tokens),
        logits=logits,
        kv_cache=kv_cache_bytes(config, settings.serving_rows, settings.serving_tokens, settings.dtype),
        policy=base + 4 * numbers,
    )


def kv_cache_bytes(config: PreTrainedConfig, rows: int, tokens: int, dtype: torch.dtype = torch.bfloat16) -> int:
    """Keys and values of `rows` texts of `tokens` tokens each: 2 · layers · heads · width · rows · tokens numbers."""
    text: Any = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * int(text.num_hidden_layers) * int(heads) * int(width) * rows * tokens * dtype.itemsize


def activation_bytes(config: PreTrainedConfig, settings: MemorySettings, rows: int, tokens: int) -> int:
    """What `rows` sequences of `tokens` tokens keep for the backward pass through all layers, in bytes.

    With checkpointing: the input of each layer, and all of the one that is being computed again.
    """
    one, two = (_saved(_with_layers(config, layers), settings, rows, tokens) for layers in (1, 2))
    layers, layer = int(config.get_text_config().num_hidden_layers), two - one
    if not settings.gradient_checkpointing:
        return one + (layers - 1) * layer
    stream = rows * tokens * int(config.get_text_config().hidden_size) * settings.dtype.itemsize
    return one + (layers - 1) * stream


def _frozen_bytes(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters() if not p.requires_grad)


def _gathered_bytes(config: PreTrainedConfig, settings: MemorySettings, base: int) -> int:
    """What FSDP2 holds whole for a moment: what is no layer, the layer being computed and the next one."""
    one, two = (_frozen_bytes(_policy(_with_layers(config, layers), settings)[0]) for layers in (1, 2))
    layer = two - one
    return min(base, one + layer)


def _with_layers(config: PreTrainedConfig, layers: int) -> PreTrainedConfig:
    found = deepcopy(config)
    text: Any = found.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    return found


def _policy(config: PreTrainedConfig, settings: MemorySettings) -> tuple[PeftModel, AdapterMixture]:
    """A steerable model without content."""
    names = [f"objective_{k}" for k in range(settings.objectives)]
    targets = settings.target_modules
    lora = LoraConfig(
        r=settings.lora_r,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            base = AutoModelForCausalLM.from_config(config, dtype=settings.dtype)
        except (ValueError, AttributeError) as error:
            raise InputError(f"no causal language model has this configuration: {error}") from error
        model = add_adapters(base, dict.fromkeys(names, lora), 0)
    mixture = AdapterMixture(model, names)
    mixture.train_adapters()
    return model, mixture


def _saved(config: PreTrainedConfig, settings: MemorySettings, rows: int, tokens: int) -> int:
    """Bytes that autograd saves in a forward pass up to the last hidden states, parameters left out."""
    model, mixture = _policy(config, settings)
    half = settings.dtype != torch.float32
    weights = torch.full((rows, settings.objectives), 1 / settings.objectives)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _without_content(model)
        ids = torch.zeros(rows, tokens, dtype=torch.long)
        counted = Saved(model)
        autocast = torch.autocast("cpu", torch.bfloat16) if half else nullcontext()
        with opened(mixture.id, RowWeights(mixture.names, weights)), counted, autocast:
            base: Any = model.get_base_model()
            base.base_model(input_ids=ids, use_cache=False)
    return counted.bytes


def _without_content(model: nn.Module) -> None:
    """Tensors on the meta device become such as pretend to be on the CPU, where the same operations are chosen as in earnest."""
    for module in model.modules():
        for store in (module._parameters, module._buffers):
            held: dict[str, Any] = store  # parameters stay parameters
            for name, tensor in held.items():
                if tensor is not None:
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype)
                    is_parameter = isinstance(tensor, nn.Parameter)
                    held[name] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty


class Saved(torch.autograd.graph.saved_tensors_hooks):
    """Counts what autograd saves inside the block, each storage once and the model's parameters not at all.

    Args:
        model (`nn.Module`): whose parameters are there anyway.
    """

    def __init__(self, model: nn.Module) -> None:
        self._known: dict[int, Any] = {}
        self._parameters = {p.untyped_storage()._cdata for p in model.parameters()}
        super().__init__(self._seen, lambda tensor: tensor)

    def _seen(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._parameters:
            self._known[storage._cdata] = storage  # held, so that no other takes its address
        return tensor

    @property
    def bytes(self) -> int:
        """All of them together."""
        return sum(storage.nbytes() for storage in self._known.values())


def llama_7b() -> LlamaConfig:
    """A Llama of 6.7 B parameters: 32 layers x 4096."""
    return LlamaConfig(vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_hidden_layers=32)


def table(columns: Mapping[str, Memory]) -> str:
    """A Markdown table of several runs, in GiB per device."""
    lines = ["| GiB per GPU | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for name in (
        "base",
        "adapters",
        "gradients",
        "optimizer",
        "activations",
        "logits",
        "training",
        "policy",
        "kv_cache",
        "serving",
    ):
        shown = "**" if name in ("training", "serving") else ""
        values = " | ".join(f"{shown}{getattr(found, name) / GIB:.2f}{shown}" for found in columns.values())
        lines.append(f"| {shown}{name.replace('_', ' ')}{shown} | {values} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table of the documentation: 7 B parameters, four objectives."""
    plain = MemorySettings()
    runs = {
        "1 GPU": plain,
        "1 GPU, activations kept": replace(plain, gradient_checkpointing=False),
        "1 GPU, prompts not shared": replace(plain, share_prompts=False),
        "8 GPUs, ddp": replace(plain, processes=8),
        "8 GPUs, fsdp2": replace(plain, processes=8, shard="fsdp2"),
    }
    print(table({name: memory(llama_7b(), settings) for name, settings in runs.items()}))  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
