import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoModel, AutoTokenizer, BertModel, RobertaConfig, RobertaModel, T5Config

from frontier.errors import InputError
from reward_heads import TransformerReward
from reward_heads.joining import Joining
from reward_heads.probes import Embedder, TextEmbedder
from tests.reward_heads.conftest import make_tokenizer
from tests.reward_heads.encoders import make_encoder as make_classifier
from tests.reward_heads.probes.conftest import make_encoder

BARE = Joining("roles", append_eos=False)
PROMPTS = ["ask me : ", "please ", "the ", "", "ask me : "]
COMPLETIONS = ["the cat sat .", "very good", "a", "big red sky sea dog ran", "the cat sat ."]


def hidden_states(folder, text, max_length=None):
    """One text at a time, nothing padded: `[L, width]`."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    ids = tokenizer(text, truncation=max_length is not None, max_length=max_length, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return model(input_ids=ids).last_hidden_state[0]


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
@pytest.mark.parametrize(
    ("pooling", "pool"), [("mean", lambda h: h.mean(0)), ("last", lambda h: h[-1]), ("first", lambda h: h[0])]
)
def test_equals_the_model_on_one_text_at_a_time(kind, pooling, pool, encoder_folder, base_folder):
    folder = encoder_folder if kind == "encoder" else base_folder
    embedder = Embedder.from_pretrained(folder, pooling=pooling, batch_size=2)
    assert isinstance(embedder, TextEmbedder)
    found = embedder.embed(PROMPTS, COMPLETIONS)
    assert found.dtype == torch.float32
    assert found.shape == (5, embedder.width)
    texts = [embedder.joining(embedder.tokenizer, p, c) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)]
    assert_close(found, torch.stack([pool(hidden_states(folder, text)) for text in texts]), rtol=1e-4, atol=1e-5)
    assert (embedder.computed, embedder.cached) == (4, 0)  # the fifth is the first once more


def test_prompt_and_completion_are_joined_as_by_a_transformer_reward(base_folder):
    embedder, reward = Embedder.from_pretrained(base_folder), TransformerReward.from_base(base_folder, ["a"])
    conversation = [{"role": "user", "content": "ask me"}]
    for prompt, completion in [("ask ", "the cat"), (conversation, "very good"), (conversation, conversation)]:
        assert embedder.joining(embedder.tokenizer, prompt, completion) == reward.join(prompt, completion)


def test_a_trunk_in_memory_and_on_disk_give_the_same_vectors(reward, tmp_path):
    reward.max_length = 5
    reward.save_pretrained(tmp_path)
    memory, disk = Embedder.from_reward(reward), Embedder.from_pretrained(tmp_path)
    assert_close(memory.embed(PROMPTS, COMPLETIONS), disk.embed(PROMPTS, COMPLETIONS))
    assert (memory.max_length, disk.max_length) == (5, 5)
    assert memory.truncated == disk.truncated > 0


def test_training_the_reward_on_does_not_change_its_embedder(reward):
    embedder = Embedder.from_reward(reward)
    before, name = embedder.embed(PROMPTS, COMPLETIONS), embedder.fingerprint
    with torch.no_grad():
        for weight in reward.model.parameters():
            weight.add_(0.1)
    assert_close(embedder.embed(PROMPTS, COMPLETIONS), before)
    assert Embedder.from_reward(reward).fingerprint != name


def test_a_layer_in_the_middle(encoder_folder):
    tokenizer, model = AutoTokenizer.from_pretrained(encoder_folder), AutoModel.from_pretrained(encoder_folder).eval()
    with torch.no_grad():
        states = model(**tokenizer("the cat", return_tensors="pt"), output_hidden_states=True).hidden_states
    found = Embedder.from_pretrained(encoder_folder, layer=1, joining=BARE).embed(["the "], ["cat"])
    assert_close(found[0], states[1][0].mean(0), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[0], states[2][0].mean(0), atol=1e-2)


def test_prompts_alone(encoder_folder):
    embedder = Embedder.from_pretrained(encoder_folder, joining=BARE)
    message = [{"role": "user", "content": "ask me"}]
    found = embedder.embed_prompts(["ask me :", message])
    assert_close(found[0], hidden_states(embedder.source, "ask me :").mean(0), rtol=1e-4, atol=1e-5)
    assert_close(found[1], hidden_states(embedder.source, "user: ask me").mean(0), rtol=1e-4, atol=1e-5)
    assert embedder.embed_prompts([]).shape == (0, embedder.width)


@pytest.mark.parametrize(("side", "words"), [("left", ["<s>", "dog", "ran"]), ("right", ["<s>", "the", "red"])])
def test_cuts_the_side_that_is_asked_for_and_counts(encoder_folder, side, words):
    embedder = Embedder.from_pretrained(encoder_folder, max_length=3, truncation_side=side, joining=BARE)
    found = embedder.embed(["the ", "the "], ["red cat sat dog ran", "a"])
    rows, cut = embedder._tokenize(["the red cat sat dog ran", "the a"])
    assert embedder.tokenizer.convert_ids_to_tokens(rows[0]) == words
    assert cut.tolist() == [True, False]
    assert embedder.truncated == 1
    assert_close(found[0], embedder.embed_prompts([" ".join(words[1:])])[0], rtol=1e-4, atol=1e-5)


def test_a_second_run_reads_the_disk_and_loads_no_weights(encoder_folder, tmp_path, monkeypatch):
    first = Embedder.from_pretrained(encoder_folder, cache=tmp_path / "cache", max_length=8)
    computed = first.embed(PROMPTS, COMPLETIONS)
    monkeypatch.setattr(AutoModel, "from_pretrained", None)
    second = Embedder.from_pretrained(encoder_folder, cache=tmp_path / "cache", max_length=8)
    assert second.embed(PROMPTS[::-1], COMPLETIONS[::-1]).equal(computed.flip(0))
    assert (second.computed, second.cached) == (0, 4)
    assert second.truncated == first.truncated == 1


def test_only_what_is_new_is_computed(encoder_folder, tmp_path):
    embedder = Embedder.from_pretrained(encoder_folder, cache=tmp_path / "cache")
    embedder.embed(PROMPTS[:2], COMPLETIONS[:2])
    found = embedder.embed(PROMPTS, COMPLETIONS)
    assert (embedder.computed, embedder.cached) == (4, 2)
    assert_close(found, Embedder.from_pretrained(encoder_folder).embed(PROMPTS, COMPLETIONS), rtol=1e-4, atol=1e-5)


def test_more_texts_than_a_block_come_back_in_order(encoder_folder, tmp_path):
    texts = [f"{'cat ' * (i % 7)}{'dog ' * (i // 7 % 7)}{'sea ' * (i // 49)}" for i in range(150)]
    embedder = Embedder.from_pretrained(encoder_folder, batch_size=2, cache=tmp_path / "cache")  # blocks of 128
    single = Embedder.from_pretrained(encoder_folder, batch_size=150)
    expected = single.embed_prompts(texts)
    assert_close(embedder.embed_prompts(texts), expected, rtol=1e-4, atol=1e-5)
    assert embedder.embed_prompts(texts[::-1])[0].equal(embedder.embed_prompts(texts)[-1])


def test_fingerprints_agree_between_processes_and_folders(encoder_folder, tmp_path):
    name = Embedder.from_pretrained(encoder_folder).fingerprint
    moved = tmp_path / "elsewhere"
    encoder_folder.rename(moved)
    assert Embedder.from_pretrained(moved).fingerprint == name
    code = f"from reward_heads.probes import Embedder; print(Embedder.from_pretrained({str(moved)!r}).fingerprint)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == name


def test_every_setting_changes_the_fingerprint(encoder_folder):
    settings = [
        {},
        {"pooling": "last"},
        {"max_length": 7},
        {"truncation_side": "right"},
        {"dtype": "bfloat16"},
        {"layer": 1},
        {"joining": Joining("roles", False)},
        {"joining": Joining("chat_template", True)},
    ]
    found = [Embedder.from_pretrained(encoder_folder, **setting).fingerprint for setting in settings]
    assert len(set(found)) == len(settings)
    assert Embedder.from_pretrained(encoder_folder, batch_size=1, cache=None).fingerprint == found[0]


def test_every_file_changes_the_fingerprint(encoder_folder):
    before = Embedder.from_pretrained(encoder_folder).fingerprint
    model = BertModel.from_pretrained(encoder_folder)
    with torch.no_grad():
        model.encoder.layer[1].output.dense.weight[3, 4] += 1e-3
    model.save_pretrained(encoder_folder)
    other_weight = Embedder.from_pretrained(encoder_folder).fingerprint
    make_tokenizer(add_bos=False).save_pretrained(encoder_folder)
    other_tokenizer = Embedder.from_pretrained(encoder_folder).fingerprint
    model.config.layer_norm_eps = 1e-3
    model.config.save_pretrained(encoder_folder)
    other_config = Embedder.from_pretrained(encoder_folder).fingerprint
    assert len({before, other_weight, other_tokenizer, other_config}) == 4


def test_refuses_bad_settings(encoder_folder):
    for settings, message in [
        ({"pooling": "means"}, "unknown pooling 'means': did you mean 'mean'"),
        ({"truncation_side": "lef"}, "did you mean 'left'"),
        ({"dtype": "int8"}, "unknown dtype 'int8'"),
        ({"batch_size": 0}, "batch_size must be at least 1, found 0"),
        ({"max_length": 0}, "max_length must be at least 1, found 0"),
        ({"layer": 3}, "layer must be between 1 and 2, .* found 3"),
        ({"layer": 0}, "layer must be between 1 and 2, .* found 0"),
    ]:
        with pytest.raises(InputError, match=message):
            Embedder.from_pretrained(encoder_folder, **settings)


def test_refuses_what_can_not_embed(tmp_path, encoder_folder):
    with pytest.raises(InputError, match="no model folder at"):
        Embedder.from_pretrained(tmp_path / "missing")
    T5Config().save_pretrained(tmp_path / "t5")
    with pytest.raises(InputError, match="is an encoder-decoder"):
        Embedder.from_pretrained(tmp_path / "t5")
    (encoder_folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="no encoder can be loaded from"):
        Embedder.from_pretrained(encoder_folder).embed(["a"], ["b"])
    with pytest.raises(InputError, match="no encoder can be loaded from"):
        _ = Embedder.from_pretrained(encoder_folder).fingerprint


def test_refuses_broken_weights(encoder_folder):
    model = make_encoder()
    with torch.no_grad():
        model.encoder.layer[0].output.dense.bias[0] = torch.nan
    model.save_pretrained(encoder_folder)
    with pytest.raises(InputError, match=r"encoder.layer.0.output.dense.bias is not finite"):
        Embedder.from_pretrained(encoder_folder).embed(["a"], ["b"])
    state = make_encoder().state_dict()
    del state["encoder.layer.1.output.dense.bias"]
    make_encoder().save_pretrained(encoder_folder, state_dict=state)
    with pytest.raises(InputError, match=r"lacks 1 weights, the first is encoder.layer.1.output.dense.bias"):
        Embedder.from_pretrained(encoder_folder).embed(["a"], ["b"])


def test_refuses_a_batch_that_does_not_pair_up(embedder):
    with pytest.raises(InputError, match="found 1 prompts and 2 completions"):
        embedder.embed(["a"], ["b", "c"])
    with pytest.raises(InputError, match="write \\[text\\]"):
        embedder.embed_prompts("a")


def test_loading_leaves_the_random_state_alone(encoder_folder):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    Embedder.from_pretrained(encoder_folder).embed(["a"], ["b"])
    assert torch.rand(2).equal(expected)


def test_weights_that_change_after_the_fingerprint_do_not_reach_the_cache(encoder_folder, tmp_path):
    before = Embedder.from_pretrained(encoder_folder, cache=tmp_path / "cache")
    name = before.fingerprint
    make_encoder(seed=1).save_pretrained(encoder_folder)
    for _ in range(2):  # refused again, and not only where the weights are loaded
        with pytest.raises(InputError, match="the weights changed since"):
            before.embed(PROMPTS, COMPLETIONS)
    make_encoder().save_pretrained(encoder_folder)
    after = Embedder.from_pretrained(encoder_folder, cache=tmp_path / "cache")
    assert after.fingerprint == name
    assert_close(
        after.embed(PROMPTS, COMPLETIONS), Embedder.from_pretrained(encoder_folder).embed(PROMPTS, COMPLETIONS)
    )
    assert after.cached == 0


def test_refuses_texts_longer_than_the_positions(encoder_folder):
    with pytest.raises(InputError, match=r"max_length must be at most 64, the positions that .*; found 65"):
        Embedder.from_pretrained(encoder_folder, max_length=65)
    full = Embedder.from_pretrained(encoder_folder, max_length=64)
    assert full.embed(["cat " * 100], ["dog"]).isfinite().all()


def test_roberta_counts_positions_from_behind_the_padding(tmp_path):
    size = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "vocab_size": 64,
    }
    RobertaModel(RobertaConfig(**size, max_position_embeddings=20, pad_token_id=0)).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    embedder = Embedder.from_pretrained(tmp_path)
    assert embedder.max_length == 19
    assert embedder.embed(["cat " * 100], ["dog"]).isfinite().all()
    with pytest.raises(InputError, match="at most 19"):
        Embedder.from_pretrained(tmp_path, max_length=20)


def test_rotary_positions_have_no_end(base_folder, reward):
    assert Embedder.from_pretrained(base_folder, max_length=100).max_length == 100
    reward.max_length = 100
    assert Embedder.from_reward(reward).embed(["cat " * 90], ["dog"]).isfinite().all()


def test_a_saved_reward_that_allows_more_than_the_positions_can_still_embed(tokenizer, tmp_path):
    saved = make_classifier("roberta", tokenizer)  # 48 rows, the first is of padding
    saved.max_length = 48
    saved.save_pretrained(tmp_path)
    assert Embedder.from_pretrained(tmp_path).max_length == 47


def test_half_a_surrogate_pair_is_named(embedder):
    with pytest.raises(InputError, match=r"text 1 is no Unicode text.*'\\ud83d', at position 4"):
        embedder.embed(["the ", "the "], ["cat", "\ud83d cat"])
