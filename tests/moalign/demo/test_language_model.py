import json
import math

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from frontier.errors import InputError
from moalign.demo import world
from moalign.demo.language_model import (
    _batches,
    _collate,
    build_model,
    build_tokenizer,
    measure_language_model,
    sample_replies,
    train_language_model,
)

PROMPT = "Customer: Hi, this is Anna. My blue lamp arrived broken on Monday. What can I do?\nReply:"
TINY = {"vocabulary": None, "batch_size": 8, "hidden": 16, "progress": False}


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(world.all_text())


@pytest.fixture(scope="module")
def texts():
    prompts, _ = world.split_prompts(200, 0, seed=0)
    return world.draw_replies(prompts, 2, seed=0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, texts):
    out = tmp_path_factory.mktemp("lm") / "base"
    metrics = train_language_model(out, texts, 0, 60, **TINY | {"vocabulary": world.all_text()}, held_out=texts[:50])
    return out, metrics


# --- the tokenizer ---


def test_the_worlds_text_comes_back_exactly(tokenizer, texts):
    for prompt, reply in texts:
        ids = tokenizer(prompt + reply)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == prompt + reply


def test_every_sentence_of_the_world_is_covered(tokenizer):
    for text in world.all_text():
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_spaces_and_newlines_are_kept_as_they_are(tokenizer):
    for text in ["Customer:\nReply:", " lamp lamp\n", "\n\n lamp.\n", "Customer: Hi,\n this is\nReply:"]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_prompt_and_reply_tokenize_apart_as_together(tokenizer, texts):
    for prompt, reply in texts[:100]:
        together = tokenizer(prompt + reply)["input_ids"]
        assert tokenizer(prompt)["input_ids"] + tokenizer(reply)["input_ids"] == together


def test_one_token_per_word_and_nothing_added(tokenizer):
    ids = tokenizer(" We will send a new lamp.")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == [" We", " will", " send", " a", " new", " lamp", "."]
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (
        0,
        1,
        2,
        3,
    )


def test_the_longest_reply_fits_into_forty_new_tokens(tokenizer, texts):
    assert max(len(tokenizer(reply)["input_ids"]) + 1 for _, reply in texts) <= 36


def test_unknown_words_become_unk(tokenizer):
    assert tokenizer.unk_token_id in tokenizer(" Zeppelin")["input_ids"]
    assert tokenizer.decode(tokenizer(" lamp Zeppelin")["input_ids"], skip_special_tokens=True) == " lamp"


def test_batches_are_padded_on_the_left(tokenizer):
    batch = tokenizer([" lamp", PROMPT], padding=True, return_tensors="pt")
    assert batch["attention_mask"][0].tolist() == [0] * (batch["input_ids"].shape[1] - 1) + [1]
    assert tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True) == [" lamp", PROMPT]


def test_same_words_same_ids():
    assert build_tokenizer([" b a", "c"]).get_vocab() == build_tokenizer(["c", " b a", " a"]).get_vocab()


def test_chat_template_writes_the_last_user_message_as_a_prompt(tokenizer):
    message = PROMPT.removeprefix("Customer: ").removesuffix("\nReply:")
    chat = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "First."},
        {"role": "assistant", "content": "Noted."},
        {"role": "user", "content": f" {message} "},
    ]
    assert tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == PROMPT
    answered = [*chat, {"role": "assistant", "content": "All right."}]
    assert tokenizer.apply_chat_template(answered, tokenize=False) == PROMPT + " All right.</s>"


# --- training ---


def test_training_learns_and_saves_an_ordinary_folder(trained, texts):
    out, metrics = trained
    # A uniform guess over the vocabulary of 276 has log 276 = 5.6; the shares of the tokens alone have about 4.6.
    assert metrics["loss"] < 4.2
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["loss"]))
    assert json.loads((out / "training.json").read_text()) == metrics
    assert (out / "model.safetensors").is_file()
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    assert model.config.model_type == "llama"
    assert measure_language_model(model, tokenizer, texts[:50])["loss"] == pytest.approx(metrics["loss"], rel=1e-5)
    ids = tokenizer(PROMPT + " Noted.")["input_ids"]
    assert tokenizer.decode(ids) == PROMPT + " Noted."
    assert tokenizer.padding_side == "left"
    assert tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False) == "Customer: Hi\nReply:"


def test_same_seed_same_weights(tmp_path, texts):
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder, seed in zip(folders, (0, 0, 1), strict=True):
        train_language_model(folder, texts, seed, 3, **TINY)
    a, b, c = ((folder / "model.safetensors").read_bytes() for folder in folders)
    assert a == b
    assert a != c


def test_training_leaves_the_callers_random_state(tmp_path, texts):
    before = torch.get_rng_state()
    train_language_model(tmp_path / "lm", texts, 0, 2, **TINY)
    assert torch.equal(torch.get_rng_state(), before)


def test_refusals_leave_nothing_behind(tmp_path, texts):
    with pytest.raises(InputError, match="at least one"):
        train_language_model(tmp_path / "lm", [], 0, 2, **TINY)
    with pytest.raises(InputError, match="steps must be at least 1, found 0"):
        train_language_model(tmp_path / "lm", texts, 0, 0, **TINY)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "lm").mkdir()
    with pytest.raises(InputError, match="already exists"):
        train_language_model(tmp_path / "lm", texts, 0, 2, **TINY)


def test_masks_by_hand():
    ids, reply, prompt = _collate([[5, 6, 7, 2], [8, 2]], [2, 1])
    assert ids.tolist() == [[5, 6, 7, 2], [8, 2, 0, 0]]
    # What is predicted: 6 (prompt), 7 and </s> (reply); </s> (reply), padding twice.
    assert reply.tolist() == [[0, 1, 1], [1, 0, 0]]
    assert prompt.tolist() == [[1, 0, 0], [0, 0, 0]]


def test_every_row_comes_once_per_pass():
    batches = list(_batches([3, 9, 4, 8, 5, 7, 6], batch_size=2, steps=8, seed=0))
    assert [sorted(i for batch in batches[start : start + 4] for i in batch) for start in (0, 4)] == [
        list(range(7))
    ] * 2


def test_loss_equals_the_models_own(tokenizer):
    model = build_model(tokenizer, seed=0, hidden=16).eval()
    rows = [(PROMPT, " Noted."), (PROMPT, " We will send a new lamp. Have a lovely day!")]
    total, tokens = 0.0, 0
    for prompt, reply in rows:
        start, end = tokenizer(prompt)["input_ids"], tokenizer(reply)["input_ids"] + [2]
        with torch.no_grad():
            logits = model(torch.tensor([start + end])).logits[0].log_softmax(-1)
        total -= sum(float(logits[len(start) - 1 + i, token]) for i, token in enumerate(end))
        tokens += len(end)
    measured = measure_language_model(model, tokenizer, rows)
    assert measured["loss"] == pytest.approx(total / tokens, rel=1e-5)
    assert measured["nats_per_reply"] == pytest.approx(total / 2, rel=1e-5)


def test_samples_follow_the_seed_and_the_prompts(trained):
    out, _ = trained
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    prompts, _ = world.split_prompts(3, 0, seed=5)
    drawn = sample_replies(model, tokenizer, prompts, 4, seed=1, batch_size=5)
    assert [prompt for prompt, _ in drawn] == [prompt for prompt in prompts for _ in range(4)]
    assert drawn == sample_replies(model, tokenizer, prompts, 4, seed=1, batch_size=5)
    assert drawn != sample_replies(model, tokenizer, prompts, 4, seed=2, batch_size=5)
    assert all("<" not in reply for _, reply in drawn)


@pytest.mark.slow
def test_the_demos_model_speaks_the_worlds_language(tmp_path):
    """The demo's own settings: well-formed sentences about the right item, near the lowest loss that is possible."""
    train, held_out = world.split_prompts(4000, 100, seed=0)
    held = world.draw_replies(held_out, 5, seed=1)
    metrics = train_language_model(
        tmp_path / "lm",
        world.draw_replies(train, 8, seed=0),
        0,
        vocabulary=world.all_text(),
        held_out=held,
        progress=False,
    )
    entropy = -sum(world.reply_log_probability(prompt, reply) for prompt, reply in held) / len(held)
    assert entropy - 0.5 < metrics["nats_per_reply"] < entropy + 1.0
    model, tokenizer = (kind.from_pretrained(tmp_path / "lm") for kind in (AutoModelForCausalLM, AutoTokenizer))
    said = [
        (world.parse_prompt(prompt), sentence)
        for prompt, reply in sample_replies(model, tokenizer, held_out, 8, seed=0)
        for sentence in world.parse_reply(reply)
    ]
    known = [(situation, sentence) for situation, sentence in said if sentence.kind != "malformed"]
    assert len(known) / len(said) >= 0.95
    slots = [situation.matches(sentence.slots) for situation, sentence in known if sentence.slots]
    assert sum(slots) / len(slots) >= 0.9
