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


# Filters look at the most likely so many tokens first; all of a vocabulary are sorted only where these do not hold enough probability.
FIRST_LOOK = 1024


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
        samplers (`Sequence[Sampler]`): one per row. A sampling row draws V numbers from its generator, a greedy row none; if this raises, none has.
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
    before = [s.generator.get_state() for s in chosen]
    try:
        # float64: with 24-bit uniforms, tokens less likely than 6e-8 could never be drawn.
        uniform = torch.stack([torch.rand(scores.shape[1], dtype=torch.float64, generator=s.generator) for s in chosen])
        gumbel = uniform.log_().neg_().log_().neg_()  # in place: one pass over memory instead of four
        found = (scores + gumbel.to(scores.device)).argmax(-1).tolist()
    except BaseException:
        for sampler, state in zip(chosen, before, strict=True):
            sampler.generator.set_state(state)
        raise
    for i, token in zip(rows, found, strict=True):
        tokens[i] = token
    return tokens


def _keep_top(scores: Tensor, samplers: Sequence[Sampler]) -> Tensor:
    """−inf for the tokens outside top-k and, among the rest, outside top-p; the most likely token always stays, and of equals the first."""
    size = scores.shape[1]
    top_k = torch.tensor([min(s.top_k or size, size) for s in samplers], device=scores.device).unsqueeze(1)
    top_p = torch.tensor([s.top_p for s in samplers], dtype=scores.dtype, device=scores.device).unsqueeze(1)
    best = scores.topk(min(FIRST_LOOK, size), dim=-1).values
    kept, enough = _kept(best, scores.logsumexp(-1, keepdim=True), top_k, top_p, size)
    last = best.gather(-1, kept - 1)
    # A row is looked at again, or not, for what it is itself: its tokens never depend on its neighbours.
    again = (~enough[:, 0]).nonzero()[:, 0]
    if len(again):
        ordered = scores[again].sort(dim=-1, descending=True).values
        kept[again] = _kept(ordered, ordered.logsumexp(-1, keepdim=True), top_k[again], top_p[again], size)[0]
        last[again] = ordered.gather(-1, kept[again] - 1)
    result = scores.masked_fill(scores < last, -torch.inf)
    for row in ((scores >= last).sum(-1) > kept[:, 0]).nonzero()[:, 0].tolist():
        equal = (scores[row] == last[row]).nonzero()[:, 0]
        result[row, equal[int(kept[row] - (scores[row] > last[row]).sum()) :]] = -torch.inf
    return result


def _kept(ordered: Tensor, total: Tensor, top_k: Tensor, top_p: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """`[B, 1]` how many of the most likely tokens stay, and whether `[B, N]` `ordered`, of the largest scores, is long enough to tell.

    Args:
        ordered (`Tensor`): descending.
        total (`Tensor`): `[B, 1]` log of the sum of e^score over the vocabulary.
        top_k (`Tensor`): `[B, 1]`, the whole vocabulary where there is no limit.
        top_p (`Tensor`): `[B, 1]`, a part of what top-k leaves.
        size (`int`): of the vocabulary.
    """
    length = ordered.shape[1]
    ranks = torch.arange(length, device=ordered.device)
    within = ranks < top_k
    cut = ordered.masked_fill(~within, -torch.inf)
    total = torch.where(top_k <= length, cut.logsumexp(-1, keepdim=True), total)
    probability = (cut - total).exp()
    reached = probability.cumsum(-1)
    # top_p = 1 keeps everything: the sum before the last tokens may round to 1.
    stays = within & ((reached - probability < top_p) | (top_p == 1) | (ranks == 0))
    # Where top-k reaches beyond what is looked at, but leaves something out, nobody knows yet of how much top-p is a part.
    enough = (top_k <= length) | ((top_k == size) & (top_p < 1) & (reached[:, -1:] >= top_p))
    return stays.sum(-1, keepdim=True), enough
