"""Turn prompts into token ids that a model can go on from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from frontier.errors import InputError

if TYPE_CHECKING:
    from moalign.conditioning.base import Text


def prompt_tokens(tokenizer: PreTrainedTokenizerBase, prompts: "Sequence[Text]") -> list[list[int]]:
    """Token ids of prompts; conversations go through the tokenizer's chat template with a generation prompt.

    A prompt of no tokens is the token that starts a text, or where there is none the one that ends the text before: a model needs one to go on from.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): the base model's.
        prompts (`Sequence`): texts or conversations.

    Raises:
        InputError: a conversation without a chat template, or an empty prompt where the tokenizer has neither token.
    """
    ids: list[list[int]] = []
    for prompt in prompts:
        if isinstance(prompt, str):
            found = tokenizer(prompt)["input_ids"]
        elif tokenizer.chat_template is None:
            raise InputError("the prompt is a conversation, but the base model's tokenizer has no chat template")
        else:
            rendered = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
            found = tokenizer(rendered, add_special_tokens=False)["input_ids"]
        ids.append(list(found) or [_start(tokenizer)])
    return ids


def _start(tokenizer: PreTrainedTokenizerBase) -> int:
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise InputError(
        "a prompt is empty, and the tokenizer has no token that starts or ends a text: give at least one word"
    )
