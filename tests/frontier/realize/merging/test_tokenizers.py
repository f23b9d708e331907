import json
import shutil

import pytest

from frontier.errors import InputError
from frontier.realize.merging.tokenizers import check_tokenizers, copy_tokenizer


def save(folder, vocabulary, added=()):
    folder.mkdir()
    document = {"model": {"vocab": vocabulary}, "added_tokens": [{"content": t, "id": i} for t, i in added]}
    (folder / "tokenizer.json").write_text(json.dumps(document))
    return folder


def test_equal_and_extended_vocabularies_pass(tmp_path):
    one = save(tmp_path / "one", {"a": 0, "b": 1})
    other = save(tmp_path / "two", {"a": 0, "b": 1}, [("<x>", 2)])
    (tmp_path / "none").mkdir()
    check_tokenizers({"one": one, "two": other, "none": tmp_path / "none"}, None)
    check_tokenizers({"one": one, "same": one}, "union")
    check_tokenizers({"none": tmp_path / "none"}, "union")
    with pytest.raises(InputError, match=r"union is not supported .* token '<x>' is only in one of one and two"):
        check_tokenizers({"one": one, "two": other}, "union")


@pytest.mark.parametrize("vocabulary", [{"a": 1, "b": 0}, [["b", -1.0], ["a", -2.0]]])
def test_one_token_with_two_ids_is_refused(tmp_path, vocabulary):
    one = save(tmp_path / "one", {"a": 0, "b": 1})
    two = save(tmp_path / "two", vocabulary)
    with pytest.raises(InputError, match="tokenizers of one and two differ: token 'a' is 0 in one and 1 in the other"):
        check_tokenizers({"one": one, "two": two}, "base")


def test_one_id_with_two_tokens_is_refused_in_every_pair(tmp_path):
    small = save(tmp_path / "small", {"a": 0, "b": 1})
    chat = save(tmp_path / "chat", {"a": 0, "b": 1}, [("<|im_start|>", 2)])
    padded = save(tmp_path / "padded", {"a": 0, "b": 1}, [("[PAD]", 2)])
    check_tokenizers({"small": small, "padded": padded}, None)
    message = r"tokenizers of chat and padded differ: id 2 is '<\|im_start\|>' in one and '\[PAD\]' in the other"
    with pytest.raises(InputError, match=message):
        check_tokenizers({"small": small, "chat": chat, "padded": padded}, None)
    with pytest.raises(InputError, match="id 0 is 'a' in one and 'x' in the other"):
        check_tokenizers({"small": small, "other": save(tmp_path / "other", {"x": 0, "y": 1})}, None)


def test_two_models_behind_the_first_are_compared_too(tmp_path):
    folders = {"first": save(tmp_path / "first", {"a": 0})}
    folders |= {n: save(tmp_path / n, {"a": 0}, [("<x>", i)]) for n, i in (("second", 1), ("third", 2))}
    with pytest.raises(InputError, match="tokenizers of second and third differ: token '<x>' is 1 in one and 2"):
        check_tokenizers(folders, None)


def test_an_added_token_on_one_of_the_vocabulary(tmp_path):
    one = save(tmp_path / "one", {"a": 0, "b": 1}, [("<b>", 1)])
    check_tokenizers({"one": one, "two": save(tmp_path / "two", {"a": 0, "b": 1})}, None)


def test_old_vocabularies_are_compared_as_files(tmp_path):
    for name, text in (("one", "x"), ("two", "x"), ("three", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tokenizer.model").write_text(text)
    check_tokenizers({name: tmp_path / name for name in ("one", "two")}, None)
    with pytest.raises(InputError, match=r"token 'tokenizer\.model'|differ"):
        check_tokenizers({name: tmp_path / name for name in ("one", "three")}, None)


def test_the_copy_is_a_whole_tokenizer(tiny_base, tokenizer, tmp_path):
    from transformers import AutoTokenizer

    copied = copy_tokenizer(tiny_base, tmp_path)
    assert "tokenizer.json" in copied
    shutil.copyfile(tiny_base / "config.json", tmp_path / "config.json")
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded("a b")["input_ids"] == tokenizer("a b")["input_ids"]
    assert loaded.chat_template == tokenizer.chat_template
