"""Builds the reference of an oracle world: a tokenizer that loses nothing and a tiny Llama whose completions can all be listed.

A completion is exactly L choices among V tokens, then the end token. Token `c3` stands for choice c at the third step and for nothing else, so the
last token read tells the model which step comes next; the weights give every token that does not belong to that step (padding and prompt words
included) a logit that is lower by tens of nats. The end therefore follows the last choice with probability 1 and costs nothing: a trainer that appends the
end token to a completion, and one that doesn't, optimise the same quantity. It is an ordinary Llama in every other respect.
"""

import re
import string
from collections.abc import Sequence
from typing import TYPE_CHECKING

from frontier.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")
NUMBERS = tuple(str(i) for i in range(101))
# How a wrong step is ruled out: the size of a token's step in its embedding, and of the step in the output layer.
STEP_SIZE, STEP_LOGIT = 10.0, 16.0


def choice_token(choice: int, step: int) -> str:
    """The text of choice `choice` (from 0) at step `step` (from 0), with the space that parts it from what precedes.

    Example:
        >>> choice_token(2, 0) + choice_token(0, 1)
        ' c1 a2'
    """
    return f" {string.ascii_lowercase[choice]}{step + 1}"


def prompt_text(prompt: int) -> str:
    """The text of a prompt, counted from 0; it is one token."""
    return f"Prompt {prompt + 1}:"


def build_tokenizer(vocabulary: int, length: int, prompts: int, words: Sequence[str] = ()) -> "PreTrainedTokenizerFast":
    """A tokenizer for the world's texts, one token per choice and per prompt.

    Other text is cut into the given words, whole numbers up to 100 and single ASCII characters, so that prompts which carry a preference in words can be
    read. Tokens never depend on their neighbours: the ids of prompt + completion are those of the prompt followed by those of the completion.

    Args:
        vocabulary (`int`): choices per step.
        length (`int`): steps.
        prompts (`int`): number of prompts.
        words (`Sequence[str]`, *optional*): more text that gets a token of its own, such as the objectives' names.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    choices = [choice_token(c, t) for t in range(length) for c in range(vocabulary)]
    asked = [prompt_text(p) for p in range(prompts)]
    characters = [c for c in map(chr, range(32, 127)) if not c.isdigit()] + ["\n"]
    entries = list(dict.fromkeys([*SPECIAL_TOKENS, *choices, *asked, *words, *NUMBERS, *characters]))
    longest_first = sorted([*asked, *words], key=len, reverse=True)
    # A choice is cut out only as a whole: " a1" but not the beginning of " a12" or " a1b".
    patterns = [
        *(re.escape(c) + r"(?![a-zA-Z0-9])" for c in choices),
        *map(re.escape, longest_first),
        "100|[1-9]?[0-9]",
        r"[\s\S]",
    ]
    tokenizer = Tokenizer(models.WordLevel({entry: i for i, entry in enumerate(entries)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("|".join(patterns)), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        padding_side="left",
        model_max_length=512,
    )


def step_tokens(tokenizer: "PreTrainedTokenizerFast", vocabulary: int, length: int) -> "Tensor":
    """`[L, V]` token ids of the choices at each step."""
    import torch

    ids = tokenizer.get_vocab()
    return torch.tensor([[ids[choice_token(c, t)] for c in range(vocabulary)] for t in range(length)])


def build_model(
    tokenizer: "PreTrainedTokenizerFast",
    vocabulary: int,
    length: int,
    seed: int,
    *,
    hidden: int = 64,
    layers: int = 2,
    spread: float = 0.8,
) -> "PreTrainedModel":
    """The reference: a Llama with random weights (float32, evaluation mode); the same seed gives the same weights.

    Args:
        tokenizer (`PreTrainedTokenizerFast`): of the same world.
        vocabulary (`int`): choices per step.
        length (`int`): steps.
        seed (`int`): of the weights; the caller's random state is left as it was.
        hidden (`int`, *optional*, defaults to 64): width.
        layers (`int`, *optional*, defaults to 2): decoder layers.
        spread (`float`, *optional*, defaults to 0.8): standard deviation of the logits of a step's choices, in nats; 0 makes every choice equally likely.

    Raises:
        InputError: `hidden` leaves too little room beside the steps.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    steps = length + 1  # the last one is the end
    if hidden % 8 or hidden < 2 * steps:
        raise InputError(f"hidden must be a multiple of 8 and at least {2 * steps} for length {length}, found {hidden}")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    ids = tokenizer.get_vocab()
    free = hidden - steps
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).eval()
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and ".layers." in name:
                weight.copy_(1.2 * normal(*weight.shape) / weight.shape[1] ** 0.5)
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    weight[:steps] = 0.0  # the first dimensions tell the step; no layer writes there
        embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
        embedding.copy_(normal(*embedding.shape))
        number = normal(hidden)
        for text in NUMBERS:  # a number can be read off its embedding, as in a language model that knows numbers
            embedding[ids[text]] = 0.3 * embedding[ids[text]] + number * (int(text) / 50 - 1)
        embedding[:, :steps] = 0.0
        embedding[:, 0] = STEP_SIZE
        # After the last norm a dimension is about 1 in size: a row of norm `spread` makes logits of that deviation.
        head.copy_(spread * normal(*head.shape) / free**0.5)
        head[:, :steps] = 0.0
        for step in range(length):
            for choice in range(vocabulary):
                token = ids[choice_token(choice, step)]
                head[token, step] = STEP_LOGIT
                embedding[token, 0] = 0.0
                embedding[token, step + 1] = STEP_SIZE
        head[tokenizer.eos_token_id, length] = STEP_LOGIT
    return model
