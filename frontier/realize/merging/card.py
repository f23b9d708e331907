"""The README of a merged model: what was merged, by which method, from which files."""

import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from frontier.realize.merging.methods.base import MergeMethod

_LINK = re.compile(r"\[([^\]]+)\]\((https?://[^)\s]+)\)")


def model_card(method: MergeMethod, text: str, sha256: Mapping[str, str], seed: int, notes: Sequence[str]) -> str:
    """A model card in Markdown.

    Args:
        method (`MergeMethod`): its docstring's first line and links are the formula's source.
        text (`str`): the configuration, shown as it is.
        sha256 (`Mapping[str, str]`): of each input's index (of one file: its header), by model.
        seed (`int`): shown for methods that draw at random.
        notes (`Sequence[str]`): what was told to the user.
    """
    says = (inspect.getdoc(type(method)) or "").strip()
    links = dict(_LINK.findall(says))
    lines = ["---", "library_name: transformers", "tags:", "- merge", "- moalign"]
    hub = [name for name in sha256 if "+" not in name and not Path(name).exists()]
    if hub:
        lines += ["base_model:", *(f"- {name.partition('@')[0]}" for name in hub)]
    lines += ["---", "", "# A merged model", ""]
    lines += [f"Merged with moalign by `{method.name}`: {says.splitlines()[0] if says else method.name}", ""]
    if links:
        lines += ["Formula: " + ", ".join(f"[{title}]({address})" for title, address in links.items()) + ".", ""]
    if method.random:
        lines += [f"Seed: {seed}.", ""]
    lines += ["The configuration, in mergekit's form:", "", "```yaml", text.strip(), "```", ""]
    lines += [
        "Inputs, each with the sha256 of its `model.safetensors.index.json` (of the header, where the weights are one file). It fixes names, shapes "
        "and places of the tensors, not their values:",
        "",
    ]
    lines += ["| model | sha256 |", "| --- | --- |"]
    lines += [f"| {name} | `{digest}` |" for name, digest in sha256.items()]
    if notes:
        lines += ["", "Notes:", "", *(f"- {note}" for note in notes)]
    return "\n".join(lines) + "\n"
