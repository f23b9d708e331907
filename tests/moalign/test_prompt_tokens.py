import copy

import pytest

from frontier.errors import InputError
from moalign.prompt_tokens import prompt_tokens


@pytest.fixture
def bare(tokenizer):
    """Puts nothing before a text, as GPT-2's does."""
    made = copy.deepcopy(tokenizer)
    made.bos_token = made.eos_token = made.chat_template = None
    return made


def test_texts_and_conversations(tokenizer):
    [text, spoken] = prompt_tokens(tokenizer, ["user a b", [{"role": "user", "content": "a b"}]])
    assert text == spoken == tokenizer("user a b").input_ids


def test_an_empty_prompt_is_the_token_that_starts_or_ends_a_text(tokenizer, bare):
    assert tokenizer("").input_ids == []
    assert prompt_tokens(tokenizer, ["", "a"])[0] == [tokenizer.bos_token_id]
    bare.eos_token = "</s>"
    assert prompt_tokens(bare, [""]) == [[tokenizer.eos_token_id]]


def test_refuses_what_no_model_can_go_on_from(bare):
    with pytest.raises(
        InputError, match="a prompt is empty, and the tokenizer has no token that starts or ends a text"
    ):
        prompt_tokens(bare, ["a", ""])
    with pytest.raises(InputError, match="has no chat template"):
        prompt_tokens(bare, [[{"role": "user", "content": "a"}]])
