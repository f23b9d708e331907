"""Tell how likely the chosen tokens were, and what else was."""

from collections.abc import Sequence

from torch import Tensor

from moalign.serving.request import TokenLogprob, TokenLogprobs
from moalign.serving.text import Decodes


def token_logprobs(
    logits: Tensor, tokens: Sequence[int], counts: Sequence[int], tokenizer: Decodes
) -> list[TokenLogprobs]:
    """Log-probabilities of chosen tokens and of the most likely ones, of the model itself: before temperature, top_p and top_k.

    Args:
        logits (`Tensor`): `[B, V]`.
        tokens (`Sequence[int]`): chosen in each row.
        counts (`Sequence[int]`): how many of the most likely tokens to tell in each row; fewer where others are impossible.
        tokenizer: the policy's.
    """
    log_probs = logits.float().log_softmax(-1)
    values, ids = log_probs.topk(min(max(counts), logits.shape[-1]), dim=-1)
    told = []
    for row, (token, count) in enumerate(zip(tokens, counts, strict=True)):
        best = zip(ids[row, :count].tolist(), values[row, :count].tolist(), strict=True)
        top = tuple(TokenLogprob(i, _text(tokenizer, i), value) for i, value in best if value > float("-inf"))
        told.append(TokenLogprobs(token, _text(tokenizer, token), float(log_probs[row, token]), top))
    return told


def _text(tokenizer: Decodes, token: int) -> str:
    return str(tokenizer.decode([token], skip_special_tokens=False))
