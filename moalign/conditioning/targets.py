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
        targets (`str`): `all-linear` (every linear layer but the output layer), `attention`, `not-attention` (the other linear layers), `output` (the layer that makes
            the logits), or names of modules, separated by commas.

    Raises:
        InputError: nothing in the model is called so.
    """
    if targets == "all-linear":
        return targets
    head = model.get_output_embeddings()
    linear = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }
    if targets == "output":
        named = [path for path, module in model.named_modules() if module is head]
        if not named:
            raise InputError(f"a {type(model).__name__} has no output layer for an adapter")
        return named
    if targets in PARTS:
        found = [path for path in linear if PARTS[targets](path)]
        if not found:
            raise InputError(
                f"no linear layer of {type(model).__name__} counts as '{targets}': name the modules, separated by commas"
            )
        return found
    names = [name.strip() for name in targets.split(",")]
    known = {part for path in linear for part in (path, path.rsplit(".", 1)[-1])}
    head_names = [path for path, module in model.named_modules() if module is head]
    for name in names:
        if name not in known and name not in head_names and not any(path.endswith(f".{name}") for path in linear):
            leaves = sorted({path.rsplit(".", 1)[-1] for path in linear})
            raise unknown_name("target module", name, [*KEYWORDS, *leaves])
    return names
