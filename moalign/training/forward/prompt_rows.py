"""Lay prompts and completions out as rows of a forward: one prompt, and behind it completions that do not see each other."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moalign.training.forward.completion_head import Wanted

Ids = Sequence[int]


@dataclass(frozen=True)
class PromptRow:
    """One row: a prompt and completions of it.

    Args:
        record (`int`): where its preference stands.
        prompt (`Sequence[int]`): token ids, possibly none.
        completions (`Sequence[Sequence[int]]`): token ids of each.
        number (`int`): of the first of them among all completions of the call.
    """

    record: int
    prompt: Ids
    completions: Sequence[Ids]
    number: int

    def __len__(self) -> int:
        return len(self.prompt) + sum(map(len, self.completions))

    @property
    def longest(self) -> int:
        """Tokens of the prompt with its longest completion: how far a token may look back."""
        return len(self.prompt) + max(map(len, self.completions))


@dataclass(frozen=True)
class Layout:
    """Rows as tensors, padded on the right.

    Args:
        ids (`Tensor`): `[R, T]`.
        positions (`Tensor`): `[R, T]`: every completion counts on from its prompt.
        part (`Tensor`): `[R, T]`: 0 in a prompt, i in its i-th completion, one more in the padding.
        wanted (`Wanted`): predictions of all completion tokens, row by row.
        known (`Tensor`, *optional*): `[N]`, 0 for the first token of a text without prompt, which nothing predicts; `None` where there is no such token.
    """

    ids: Tensor
    positions: Tensor
    part: Tensor
    wanted: Wanted
    known: Tensor | None

    def mask(self, window: int | None = None) -> Tensor:
        """`[R, 1, T, T]`, true where a token (third axis) sees another: its prompt and its own completion, up to itself.

        Args:
            window (`int`, *optional*): how many tokens a token sees, itself included, by their positions.
        """
        length = self.ids.shape[1]
        before = torch.ones(length, length, dtype=torch.bool, device=self.ids.device).tril()
        seen = before & ((self.part[:, None, :] == 0) | (self.part[:, None, :] == self.part[:, :, None]))
        if window is not None:
            # Whatever the window, padding sees itself: a row without anything to see would be no distribution.
            seen &= self.positions[:, :, None] - self.positions[:, None, :] < window
        return seen.unsqueeze(1)


def lay_out(rows: Sequence[PromptRow], pad: int, device: torch.device) -> Layout:
    """The tensors of some rows."""
    length = max(1, *map(len, rows))
    ids = torch.full((len(rows), length), pad)
    positions = torch.arange(length).repeat(len(rows), 1)
    part = torch.zeros(len(rows), length, dtype=torch.long)
    at: list[Tensor] = []
    targets: list[int] = []
    unknown: list[int] = []
    for i, row in enumerate(rows):
        start = end = len(row.prompt)
        ids[i, :start] = torch.tensor(row.prompt, dtype=torch.long)
        for j, completion in enumerate(row.completions, 1):
            first, end = end, end + len(completion)
            ids[i, first:end] = torch.tensor(completion, dtype=torch.long)
            positions[i, first:end] = torch.arange(start, start + len(completion))
            part[i, first:end] = j
            before = torch.arange(first - 1, end - 1)
            if completion:
                # The first token follows the prompt, not the completion that stands before it.
                before[0] = max(0, start - 1)
                if not start:
                    unknown.append(len(targets))
            at.append(before)
            targets += completion
        part[i, end:] = len(row.completions) + 1
        positions[i, end:] = torch.arange(length - end)
    owner = torch.repeat_interleave(
        torch.arange(len(rows)), torch.tensor([sum(map(len, row.completions)) for row in rows])
    )
    known = None
    if unknown:
        known = torch.ones(len(targets))
        known[unknown] = 0.0
    wanted = Wanted(
        len(rows), owner.to(device), torch.cat(at).to(device), torch.tensor(targets, dtype=torch.long).to(device)
    )
    return Layout(
        ids.to(device), positions.to(device), part.to(device), wanted, None if known is None else known.to(device)
    )
