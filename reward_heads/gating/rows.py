"""Read what a gate learns from: which of two completions was better overall, or completions that somebody preferred."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError, unknown_name
from reward_heads.examples import labelled_objectives, read_examples
from reward_heads.probes.embedder import TextEmbedder
from reward_heads.text import Text, text_key


@dataclass(frozen=True)
class Comparisons:
    """Pairs with one label each.

    Args:
        prompts (`tuple[Text, ...]`): N prompts.
        a (`tuple[Text, ...]`), b (`tuple[Text, ...]`): N completions each.
        labels (`Tensor`): `[N]` float64, the probability that a is better; NaN = missing.
    """

    prompts: tuple[Text, ...]
    a: tuple[Text, ...]
    b: tuple[Text, ...]
    labels: Tensor


def read_comparisons(rows: Iterable[Mapping[str, Any]], label: str | None) -> Comparisons:
    """Pairs, with the label that says which is better overall.

    Args:
        rows (`Iterable[Mapping]`): with `prompt`, `completion_a`, `completion_b` and `labels`.
        label (`str`, *optional*): its name in `labels`; may be left out where there is one name only.

    Raises:
        InputError: a row is broken or a rating, or the name is unknown or not clear.
    """
    rows = list(rows)
    names = labelled_objectives(rows)
    if label is None:
        if len(names) != 1:
            raise InputError(
                f"which label says what is better overall? Give label=, one of: {', '.join(names)}"
                if names
                else "rows: no row has a label"
            )
        (label,) = names
    elif label not in names:
        raise unknown_name("label", label, names)
    examples = read_examples(rows, [label], what="rows", ignore_others=True)
    others = []
    for number, example in enumerate(examples):
        if example.other is None:
            raise InputError(f"rows, row {number}: is a rating, which compares nothing")
        others.append(example.other)
    labels = torch.tensor([example.targets[0] for example in examples], dtype=torch.float64)
    return Comparisons(tuple(e.prompt for e in examples), tuple(e.completion for e in examples), tuple(others), labels)


def read_preferred(rows: Iterable[Mapping[str, Any]], label: str | None) -> tuple[list[Text], list[Text]]:
    """Prompts and the completions that were preferred: the better one of each pair (ties are left out), or `completion` where a row has that.

    Raises:
        InputError: a row is neither, or as [`read_comparisons`].
    """
    rows = list(rows)
    pairs = [row for row in rows if isinstance(row, Mapping) and row.get("completion_a") is not None]
    prompts: list[Text] = []
    completions: list[Text] = []
    if pairs:
        found = read_comparisons(pairs, label)
        for prompt, a, b, p in zip(found.prompts, found.a, found.b, found.labels.tolist(), strict=True):
            if p > 0.5 or p < 0.5:  # neither a tie nor NaN
                prompts.append(prompt)
                completions.append(a if p > 0.5 else b)
    for number, row in enumerate(rows):
        if isinstance(row, Mapping) and row.get("completion_a") is not None:
            continue
        for name in ("prompt", "completion"):
            if not isinstance(row, Mapping) or not isinstance(row.get(name), str | list):
                raise InputError(f"rows, row {number}, field '{name}': must be a text or a list of messages")
        prompts.append(row["prompt"])
        completions.append(row["completion"])
    return prompts, completions


def embed_distinct(embedder: TextEmbedder, prompts: Sequence[Text]) -> tuple[Tensor, list[Hashable]]:
    """The embeddings `[N, d]` of prompts, each distinct one computed once, and their keys (equal for equal prompts)."""
    keys = [text_key(prompt) for prompt in prompts]
    first: dict[Hashable, int] = {}
    for row, key in enumerate(keys):
        first.setdefault(key, row)
    place = {key: index for index, key in enumerate(first)}
    embeddings = embedder.embed_prompts([prompts[row] for row in first.values()])
    return embeddings[[place[key] for key in keys]], keys
