import json

import pytest
import torch
from torch.testing import assert_close
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaConfig,
    RobertaModel,
    pipeline,
)

from frontier.errors import InputError
from reward_heads.model import TransformerReward
from reward_heads.normalizer import Normalizer
from reward_heads.sidecar import Sidecar
from reward_heads.vector_reward import VectorReward

from .conftest import WORDS, make_base, make_tokenizer

PROMPTS = ["ask me :", "please :", "the cat", "ask me the dog :"]
COMPLETIONS = [
    " good dog .",
    " the big red sky ran very fine . the sea sat .",
    " sat",
    " a bad awful dog ran . please .",
]


def test_is_a_vector_reward(reward):
    assert isinstance(reward, VectorReward)
    assert reward.objectives == ("kind", "brief", "loud")
    scores = reward.score(PROMPTS, COMPLETIONS)
    assert scores.shape == (4, 3)
    assert scores.dtype == torch.float32
    assert not scores.requires_grad
    assert scores.std(dim=0).min() > 1e-4  # the heads are not dead
    assert reward.score([], []).shape == (0, 3)


def test_scores_do_not_depend_on_the_batch(reward):
    together = reward.score(PROMPTS, COMPLETIONS)
    one_by_one = torch.cat([reward.score([p], [c]) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)])
    assert_close(together, one_by_one, atol=1e-6, rtol=1e-5)
    reward.batch_size = 3
    assert_close(reward.score(PROMPTS, COMPLETIONS), one_by_one, atol=1e-6, rtol=1e-5)


def test_left_and_right_padding_agree(reward):
    """The pooled token is the last that isn't padding, wherever the padding is."""
    texts = [reward.join(p, c) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)]
    outputs = {}
    for side in ("left", "right"):
        batch = reward.tokenizer(texts, return_tensors="pt", padding=True, padding_side=side)
        assert batch["attention_mask"].min() == 0
        with torch.no_grad():
            outputs[side] = reward.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert_close(outputs["left"], outputs["right"], atol=1e-6, rtol=1e-5)
    assert_close(reward.score(PROMPTS, COMPLETIONS), outputs["right"], atol=1e-6, rtol=1e-5)


def test_a_tokenizer_that_pads_left_changes_nothing_even_with_absolute_positions(tokenizer):
    torch.manual_seed(0)
    base = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=64))
    reward = TransformerReward.from_base(base, ["x", "y"], tokenizer=tokenizer)
    expected = torch.cat([reward.score([p], [c]) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)])
    left = make_tokenizer()
    left.padding_side = "left"
    padded = TransformerReward(reward.model, left).score(PROMPTS, COMPLETIONS)
    assert_close(padded, expected, atol=1e-6, rtol=1e-5)
    assert left.padding_side == "left"  # the caller's tokenizer is not touched


def test_the_folder_is_an_ordinary_sequence_classifier(reward, tmp_path):
    expected = reward.score(PROMPTS, COMPLETIONS)
    reward.save_pretrained(tmp_path / "out")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model.config.num_labels == 3
    assert model.config.id2label == {0: "kind", 1: "brief", 2: "loud"}
    assert model.config.label2id == {"kind": 0, "brief": 1, "loud": 2}
    assert model.config.problem_type == "regression"
    assert model.config.pad_token_id == tokenizer.pad_token_id == 0
    batch = tokenizer(
        [reward.join(p, c) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)], return_tensors="pt", padding=True
    )
    with torch.no_grad():
        got = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert_close(got, expected, atol=1e-6, rtol=1e-5)
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"model.safetensors", "config.json", "reward_heads.json", "tokenizer.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl")) or name.startswith(".")]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # nothing half-written beside it


def test_the_pipeline_reads_it(reward, tmp_path):
    reward.offset = torch.tensor([0.5, 0.0, -1.0])
    reward.save_pretrained(tmp_path)
    classify = pipeline("text-classification", model=str(tmp_path), top_k=None)
    for prompt, completion in zip(PROMPTS, COMPLETIONS, strict=True):
        found = {row["label"]: row["score"] for row in classify([reward.join(prompt, completion)])[0]}
        scores = reward.score([prompt], [completion])[0] + reward.offset
        assert_close(torch.tensor([found[name] for name in reward.objectives]), scores, atol=1e-6, rtol=1e-5)


def test_round_trip_keeps_everything(reward, tmp_path):
    reward.offset = torch.tensor([0.25, -3.0, 1e-3])
    reward.units = Normalizer(reward.objectives, (1.0, 2.0, 3.0), (4.0, 5.0, 6.0), 7, "test")
    reward.training = "pairs+ratings"
    reward.max_length = 9
    expected = reward.score(PROMPTS, COMPLETIONS)
    reward.save_pretrained(tmp_path)
    reward.save_pretrained(tmp_path)  # over an old one
    again = TransformerReward.from_pretrained(tmp_path, batch_size=2)
    assert_close(again.score(PROMPTS, COMPLETIONS), expected, atol=1e-6, rtol=1e-5)
    assert (again.units, again.training, again.max_length, again.joining) == (
        reward.units,
        "pairs+ratings",
        9,
        reward.joining,
    )
    assert again.offset.equal(reward.offset)


def test_saving_keeps_other_files_of_the_folder(reward, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    reward.save_pretrained(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_foreign_model_without_sidecar_loads(reward, tmp_path):
    reward.save_pretrained(tmp_path)
    (tmp_path / "reward_heads.json").unlink()
    again = TransformerReward.from_pretrained(tmp_path)
    assert again.objectives == reward.objectives
    assert_close(again.score(PROMPTS, COMPLETIONS), reward.score(PROMPTS, COMPLETIONS), atol=1e-6, rtol=1e-5)


def test_truncation_keeps_the_end(reward):
    long = " ".join(WORDS[:20]) + " "
    reward.max_length = 8
    assert len(reward.encode([long], ["good dog"])[0]) == 8
    assert not torch.allclose(reward.score([long], ["good dog"]), reward.score([long], ["bad dog"]))
    # What was cut off can't matter: the first words are beyond the limit.
    assert_close(reward.score([long], ["good dog"]), reward.score(["sea " + long], ["good dog"]))


def test_an_empty_text_has_a_score():
    tokenizer = make_tokenizer(add_bos=False, eos=False)
    reward = TransformerReward.from_base(make_base(), ["x"], tokenizer=tokenizer)
    assert reward.encode([""], [""]) == [[tokenizer.pad_token_id]]
    assert torch.isfinite(reward.score(["", "the cat"], ["", " sat"])).all()


def test_from_base_takes_the_backbone_and_leaves_random_state(base, base_folder, tokenizer):
    state = torch.random.get_rng_state()
    from_model = TransformerReward.from_base(base, ["x", "y"], tokenizer=tokenizer, seed=3)
    from_folder = TransformerReward.from_base(base_folder, ["x", "y"], seed=3)
    assert torch.random.get_rng_state().equal(state)
    for reward in (from_model, from_folder):
        for name, weight in base.model.state_dict().items():
            assert reward.model.model.state_dict()[name].equal(weight)
    assert_close(from_model.score(PROMPTS, COMPLETIONS), from_folder.score(PROMPTS, COMPLETIONS), atol=1e-6, rtol=1e-5)
    other = TransformerReward.from_base(base, ["x", "y"], tokenizer=tokenizer, seed=4)
    assert not other.model.score.weight.equal(from_model.model.score.weight)
    with torch.no_grad():
        from_model.model.model.embed_tokens.weight.zero_()
    assert base.model.embed_tokens.weight.abs().sum() > 0  # weights were copied


def test_from_base_takes_an_encoder(tokenizer, tmp_path):
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    BertForMaskedLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    reward = TransformerReward.from_base(tmp_path, ["x", "y"])
    one_by_one = torch.cat([reward.score([p], [c]) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)])
    assert_close(reward.score(PROMPTS, COMPLETIONS), one_by_one, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("given", ["loaded", "folder"])
def test_from_base_takes_an_encoder_with_a_pooler_that_its_classifier_has_not(tokenizer, tmp_path, given):
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    base = RobertaModel(RobertaConfig(vocab_size=len(tokenizer), pad_token_id=0, max_position_embeddings=48, **sizes))
    assert any("pooler" in name for name in base.state_dict())
    base.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    base = base if given == "loaded" else tmp_path
    reward = TransformerReward.from_base(base, ["x"], tokenizer=tokenizer)
    assert reward.score(PROMPTS, COMPLETIONS).isfinite().all()


def test_a_folder_is_not_seen_before_it_is_whole(reward, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(Sidecar, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        reward.save_pretrained(tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_score_leaves_the_training_mode(reward):
    reward.model.train()
    reward.score(PROMPTS, COMPLETIONS)
    assert reward.model.training


def test_an_end_token_as_padding_token_is_not_appended(base):
    tokenizer = make_tokenizer(pad=False)
    reward = TransformerReward.from_base(base, ["x"], tokenizer=tokenizer)
    assert reward.tokenizer.pad_token == "</s>"
    assert reward.join("the cat", " sat") == "the cat sat"
    one_by_one = torch.cat([reward.score([p], [c]) for p, c in zip(PROMPTS, COMPLETIONS, strict=True)])
    assert_close(reward.score(PROMPTS, COMPLETIONS), one_by_one, atol=1e-6, rtol=1e-5)


# --- refusals ---------------------------------------------------------------------------------------------------------------------


def test_refuses_a_folder_that_does_not_exist(tmp_path):
    for load in (TransformerReward.from_pretrained, lambda path: TransformerReward.from_base(path, ["x"])):
        with pytest.raises(InputError, match=r"no model folder at .*nowhere"):
            load(tmp_path / "nowhere")


def test_refuses_an_empty_folder(tmp_path):
    with pytest.raises(InputError, match="no reward model can be loaded from"):
        TransformerReward.from_pretrained(tmp_path)


def test_refuses_a_loaded_base_without_tokenizer(base):
    with pytest.raises(InputError, match="needs its tokenizer too"):
        TransformerReward.from_base(base, ["x"])


def test_refuses_a_tokenizer_without_padding_and_end(base):
    with pytest.raises(InputError, match="neither a padding nor an end token"):
        TransformerReward.from_base(base, ["x"], tokenizer=make_tokenizer(pad=False, eos=False))


def test_refuses_a_tokenizer_of_another_model(base):
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["quite", "new", "words"])
    with pytest.raises(InputError, match="tokens but the model only"):
        TransformerReward.from_base(base, ["x"], tokenizer=tokenizer)


def test_refuses_weights_that_are_not_finite(reward, tmp_path):
    with torch.no_grad():
        reward.model.score.weight[0, 0] = float("nan")
    reward.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"score\.weight is not finite"):
        TransformerReward.from_pretrained(tmp_path)


def test_refuses_a_sidecar_that_contradicts_the_model(reward, tmp_path):
    reward.save_pretrained(tmp_path)
    path = tmp_path / "reward_heads.json"
    content = json.loads(path.read_text())
    content["objectives"] = ["brief", "kind", "loud"]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="id2label has kind, brief, loud"):
        TransformerReward.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "settings", [{"batch_size": 0}, {"max_length": -1}, {"offset": [1.0]}, {"offset": [float("nan")] * 3}]
)
def test_refuses_bad_settings(reward, settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        TransformerReward(reward.model, reward.tokenizer, **settings)


def test_refuses_a_batch_that_does_not_pair_up(reward):
    with pytest.raises(InputError, match="2 prompts and 1 completions"):
        reward.score(["a", "b"], ["c"])
    with pytest.raises(InputError, match="write \\[text\\]"):
        reward.score("a", ["c"])
