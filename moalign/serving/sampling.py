"""Choose the next token of every row so that a row's choice never depends on its neighbours in the batch."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def choice_generator(seed: int, choice: int) -> torch.Generator:
    """The random numbers of one answer: a function of the request's seed and the answer's position alone.

    torch's CPU generator reads only 32 bits of its seed, so the pair is hashed first: otherwise seeds 1 and 2**32 + 1 would draw the same.
    """
    digest = hashlib.blake2b(f"{seed}:{choice}".encode(), digest_size=4).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little"))


@dataclass(frozen=True, eq=False)
class Sampler:
    """How one row chooses.

    Args:
        temperature (`float`): 0 is greedy.
        top_p (`float`): keep the smallest set of tokens whose probability reaches this.
        top_k (`int`, *optional*): keep this many tokens.
        generator (`torch.Generator`): the row's own random numbers, on the CPU so that a seed means the same on every device.
    """

    temperature: float
    top_p: float
    top_k: int | None
    generator: torch.Generator


def choose_tokens(logits: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    r"""One token per row: the most likely one where the temperature is 0, otherwise a sample by the Gumbel-max trick.

    $$ \arg\max_v \; \ell_v / T + g_v, \qquad g_v = -\log(-\log u_v) $$

    draws from softmax(ℓ/T) ([Maddison et al., 2014](https://arxiv.org/abs/1411.0030)). Rounding that differs between batch sizes (about 1e-6 in ℓ)
    changes the winner only if two tokens are that close; a cumulative sum would add the rounding of the whole vocabulary up instead.

    Args:
        logits (`Tensor`): `[B, V]`, finite or −inf.
        samplers (`Sequence[Sampler]`): one per row. A sampling row draws V numbers from its generator, a greedy row none.
    """
    tokens: list[int] = logits.argmax(-1).tolist()
    rows = [i for i, sampler in enumerate(samplers) if sampler.temperature > 0]
    if not rows:
        return tokens
    chosen = [samplers[i] for i in rows]
    scores = logits[rows].double()
    temperature = torch.tensor([s.temperature for s in chosen], dtype=scores.dtype, device=scores.device).unsqueeze(1)
    # The best token is at 0 before dividing, so that no temperature, however small, overflows.
    scores = (scores - scores.amax(-1, keepdim=True)) / temperature
    filtered = [j for j, s in enumerate(chosen) if s.top_p < 1 or s.top_k is not None]
    if filtered:
        scores[filtered] = _keep_top(scores[filtered], [chosen[j] for j in filtered])
    # float64: with 24-bit uniforms, tokens less likely than 6e-8 could never be drawn.
    uniform = torch.stack([torch.rand(scores.shape[1], dtype=torch.float64, generator=s.generator) for s in chosen])
    gumbel = uniform.log_().neg_().log_().neg_()  # in place: one pass over memory instead of four
    for i, token in zip(rows, (scores + gumbel.to(scores.device)).argmax(-1).tolist(), strict=True):
        tokens[i] = token
    return tokens


def _keep_top(scores: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """−inf for the tokens outside top-k and, among the rest, outside top-p; the most likely token always stays."""
    ordered, order = scores.sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(scores.shape[1], device=scores.device)
    top_k = torch.tensor([s.top_k or scores.shape[1] for s in samplers], device=scores.device).unsqueeze(1)
    ordered = ordered.masked_fill(rank >= top_k, -torch.inf)
    top_p = torch.tensor([s.top_p for s in samplers], dtype=scores.dtype, device=scores.device).unsqueeze(1)
    probability = ordered.softmax(-1)
    before = probability.cumsum(-1) - probability
    # top_p = 1 keeps everything: the sum before the last tokens may round to 1.
    drop = (before >= top_p) & (top_p < 1) & (rank > 0)
    return torch.empty_like(scores).scatter_(-1, order, ordered.masked_fill(drop, -torch.inf))
