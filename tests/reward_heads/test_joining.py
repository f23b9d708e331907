import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.joining import Joining
from reward_heads.model import TransformerReward

from .conftest import make_tokenizer

TEMPLATE = "{{ bos_token }}{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {{ eos_token }}{% endfor %}"
USER = [{"role": "user", "content": "ask me"}]
ASSISTANT = [{"role": "assistant", "content": "the cat"}]


def test_standard_texts_are_concatenated_and_ended():
    tokenizer = make_tokenizer()
    joining = Joining.for_tokenizer(tokenizer)
    assert joining == Joining("roles", append_eos=True)
    assert joining(tokenizer, "ask me :", " the cat") == "ask me : the cat</s>"
    assert joining(tokenizer, "ask me :", " the cat</s>") == "ask me : the cat</s>"


def test_roles_without_a_template():
    tokenizer = make_tokenizer()
    assert Joining("roles", append_eos=False)(tokenizer, USER, ASSISTANT) == "user: ask me\nassistant: the cat"


def test_chat_template_without_a_second_first_token():
    tokenizer = make_tokenizer(chat_template=TEMPLATE)
    joining = Joining.for_tokenizer(tokenizer)
    text = joining(tokenizer, USER, ASSISTANT)
    assert text == "user : ask me </s>assistant : the cat </s>"
    assert tokenizer(text)["input_ids"].count(tokenizer.bos_token_id) == 1
    bare = make_tokenizer(chat_template=TEMPLATE, add_bos=False)
    text = Joining.for_tokenizer(bare)(bare, USER, ASSISTANT)
    assert bare(text)["input_ids"].count(bare.bos_token_id) == 1


def test_half_conversational():
    tokenizer = make_tokenizer()
    joining = Joining("roles", append_eos=False)
    both = joining(tokenizer, USER, ASSISTANT)
    assert joining(tokenizer, "ask me", ASSISTANT) == both
    assert joining(tokenizer, USER, "the cat") == both


def test_no_end_token_where_the_tokenizer_adds_it_or_pads_with_it():
    from tokenizers import processors

    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    assert not Joining.for_tokenizer(tokenizer).append_eos
    tokenizer = make_tokenizer()
    tokenizer.pad_token = "</s>"
    assert not Joining.for_tokenizer(tokenizer).append_eos
    assert not Joining.for_tokenizer(make_tokenizer(eos=False)).append_eos


def test_a_reward_scores_conversations(base, tmp_path):
    tokenizer = make_tokenizer(chat_template=TEMPLATE)
    reward = TransformerReward.from_base(base, ["x"], tokenizer=tokenizer)
    scores = reward.score([USER, USER], [ASSISTANT, [{"role": "assistant", "content": "bad dog"}]])
    assert scores[0] != scores[1]
    reward.save_pretrained(tmp_path)
    again = TransformerReward.from_pretrained(tmp_path)
    assert again.joining.conversational == "chat_template"
    assert_close(again.score([USER], [ASSISTANT]), scores[:1], atol=1e-6, rtol=1e-5)
    assert torch.isfinite(scores).all()


def test_refuses_an_unknown_way_and_a_refused_conversation():
    with pytest.raises(InputError, match="'chat_templat': did you mean 'chat_template'"):
        Joining("chat_templat", append_eos=True)
    tokenizer = make_tokenizer(chat_template="{{ raise_exception('roles must alternate') }}")
    with pytest.raises(InputError, match=r"chat template refuses .*: roles must alternate"):
        Joining("chat_template", append_eos=True)(tokenizer, USER, ASSISTANT)
