r"""Show each member of an ensemble its own part of the data, by leaving labels out: the trainer already knows what a missing label is.

Rows are drawn for each member by itself:

- `"bernoulli"`: each row with probability $q$ (`keep`), 1/2 by default. The spread of models trained on random halves is that of models trained on fresh data of the full size, since
  drawing without replacement leaves $\frac{1-q}{q} = 1$ of the variance ([Efron, 1982](https://doi.org/10.1137/1.9781611970319), the half-sample jackknife). No row is repeated.
- `"poisson"`: each row $\mathrm{Poisson}(1)$ times, the bootstrap ([Oza & Russell, 2001](https://proceedings.mlr.press/r3/oza01a.html)); a row is repeated as often as the member that
  drew it most often asks, which lengthens training (about three times with five members).
- `"none"`: every member sees everything; they differ by their initial weights alone, as in [Coste et al., 2024](https://huggingface.co/papers/2310.02743).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from frontier.errors import InputError, unknown_name
from frontier.objectives import check_objectives
from reward_heads.ensemble.shared_trunk import SEPARATOR
from reward_heads.examples import labelled_objectives, row_kind

SAMPLINGS = ("bernoulli", "poisson", "none")
_FIELDS = {"pair": "labels", "rating": "scores"}


def expand_rows(
    rows: Iterable[Mapping[str, Any]],
    members: int,
    *,
    objectives: Sequence[str] | None = None,
    sampling: str = "bernoulli",
    keep: float = 0.5,
    group_by: str | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Rows for K objectives to rows for M·K heads (see [`member_names`]), in which each member knows its own draw of the labels.

    Args:
        rows (`Iterable[Mapping]`): pairs and ratings, see [`read_examples`].
        members (`int`): M, at least 1.
        objectives (`Sequence[str]`, *optional*): the labels to keep, by default all that occur.
        sampling (`str`, *optional*, defaults to `"bernoulli"`): `"bernoulli"`, `"poisson"` or `"none"`.
        keep (`float`, *optional*, defaults to 0.5): the probability of `"bernoulli"`, above 0 and at most 1.
        group_by (`str`, *optional*): the field of a row (a document, an annotator) whose rows are drawn together; by default each row by itself.
        seed (`int`, *optional*, defaults to 0): of the draws.

    Returns:
        `list[dict]`: rows that no member drew are left out.

    Raises:
        InputError: a setting is out of range, a row has neither labels nor scores, or a member is left without any label of an objective.
    """
    if members < 1:
        raise InputError(f"members must be at least 1, found {members}")
    if sampling not in SAMPLINGS:
        raise unknown_name("sampling", str(sampling), SAMPLINGS)
    if not 0 < keep <= 1:
        raise InputError(f"keep must be above 0 and at most 1, found {keep}")
    rows = list(rows)
    names = check_objectives(objectives if objectives is not None else labelled_objectives(rows))
    counts = _draws(rows, members, sampling, keep, group_by, seed)
    seen = np.zeros((len(names), members), dtype=bool)
    expanded = []
    for number, (row, drawn) in enumerate(zip(rows, counts, strict=True)):
        field = _FIELDS[row_kind(row, f"rows, row {number}")]
        if not isinstance(row.get(field), Mapping):
            raise InputError(f"rows, row {number}: needs '{field}', a dictionary of objective to number, to expand")
        margin = row.get("margin")
        if isinstance(margin, Mapping):  # a single number counts for every member as it is
            of_members = {f"{name}{SEPARATOR}{m + 1}": margin.get(name) for name in names for m in range(members)}
            row = {**row, "margin": of_members}
        known = np.array([_is_known(row[field].get(name)) for name in names])
        seen |= known[:, None] & (drawn > 0)
        for copy in range(int(drawn.max()) if known.any() else 0):
            labels = {
                f"{name}{SEPARATOR}{m + 1}": row[field].get(name) if drawn[m] > copy else None
                for name in names
                for m in range(members)
            }
            expanded.append({**row, field: labels})
    for k, m in np.argwhere(~seen)[:1].tolist():
        raise InputError(
            f"objective '{names[k]}': member {m + 1} of {members} drew none of its labels: use fewer members, a larger keep, or sampling='none'"
        )
    return expanded


def _draws(
    rows: Sequence[Mapping[str, Any]], members: int, sampling: str, keep: float, group_by: str | None, seed: int
) -> np.ndarray:
    """`[N, M]`: how often each member has each row."""
    if group_by is None:
        groups = np.arange(len(rows))
    else:
        for number, row in enumerate(rows):
            if row.get(group_by) is None:
                raise InputError(f"rows, row {number}: the field '{group_by}' (group_by) is missing")
        # In the order of first appearance, so that the draws don't depend on what the groups are called.
        place: dict[str, int] = {}
        groups = np.array([place.setdefault(str(row[group_by]), len(place)) for row in rows], dtype=int)
    size = (int(groups.max()) + 1 if len(groups) else 0, members)
    generator = np.random.default_rng(seed)
    if sampling == "none":
        drawn = np.ones(size, dtype=int)
    elif sampling == "bernoulli":
        drawn = (generator.random(size) < keep).astype(int)
    else:
        drawn = generator.poisson(1.0, size)
    return drawn[groups]


def _is_known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))
