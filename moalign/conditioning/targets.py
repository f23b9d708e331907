"""Which layers an adapter goes on: by the names of modules, or by the part of the model."""

from collections.abc import Callable

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from frontier.errors import InputError, unknown_name


def _is_attention(path: str) -> bool:
    return any("attn" in part or "attention" in part for part in path.split("."))


PARTS: dict[str, Callable[[str], bool]] = {
    "attention": _is_attention,
    "not-attention": lambda path: not _is_attention(path),
}
KEYWORDS = ("all-linear", *PARTS, "output")


def target_modules(model: PreTrainedModel, targets: str) -> str | list[str]:
    """What PEFT is to be told for `targets`.

    Args:
        model (`PreTrainedModel`): the base.
        targets (`str`): parts of the model or names of modules, separated by commas: `all-linear` (every linear layer but the output layer), `attention`,
            `not-attention` (the other linear layers), `output` (the layer that makes the logits); a name is a module's path or its end (`q_proj`).

    Returns:
        `str` or `list[str]`: PEFT's own `all-linear`, or the paths and ends of paths.

    Raises:
        InputError: nothing in the model is called so.
    """
    if targets.strip() == "all-linear":
        return targets.strip()
    head = model.get_output_embeddings()
    linear = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    head_paths = [path for path, module in model.named_modules() if module is head]
    parts = {"all-linear": list(linear), "output": head_paths}
    parts |= {name: [path for path in linear if belongs(path)] for name, belongs in PARTS.items()}
    found: list[str] = []
    for name in (part.strip() for part in targets.split(",")):
        if name in parts:
            if not parts[name]:
                raise InputError(
                    f"a {type(model).__name__} has no layer that counts as '{name}': name the modules, separated by commas"
                )
            found += parts[name]
        elif any(path == name or path.endswith(f".{name}") for path in [*linear, *head_paths] if name):
            found.append(name)
        else:
            leaves = sorted({path.rsplit(".", 1)[-1] for path in linear})
            raise unknown_name("target module", name, [*KEYWORDS, *leaves])
    return list(dict.fromkeys(found))
