import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from transformers import AutoModel

from frontier.errors import InputError
from reward_heads import TransformerReward
from reward_heads.probes import Embedder, ProbeConfig, ProbeReward, fit_probe
from reward_heads.saved import load_reward, save_reward
from tests.reward_heads.conftest import make_pairs
from tests.reward_heads.probes.conftest import make_encoder
from tests.reward_heads.probes.test_fit import rating_rows

PROMPTS, COMPLETIONS = ["ask me : ", "please "], ["a good cat", "the bad sea ran"]


@pytest.fixture
def probe(embedder):
    config = ProbeConfig(alphas=[1.0, 100.0], folds=2)
    return fit_probe(embedder, make_pairs(30, missing=0.3) + rating_rows(30), config)


def test_round_trip(probe, tmp_path):
    probe.save_pretrained(tmp_path / "probe")
    again = ProbeReward.from_pretrained(tmp_path / "probe", batch_size=1, cache=tmp_path / "cache")
    for found, expected in zip(*(p.score_with_uncertainty(PROMPTS, COMPLETIONS) for p in (again, probe)), strict=True):
        assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert again.score(PROMPTS, COMPLETIONS).equal(again.score_with_uncertainty(PROMPTS, COMPLETIONS)[0])
    assert (again.objectives, again.units, again.training) == (probe.objectives, probe.units, probe.training)
    assert again.fits == probe.fits
    assert sorted(path.name for path in (tmp_path / "probe").iterdir()) == ["heads.safetensors", "probe.json"]


def test_load_reward_knows_it(probe, tmp_path):
    save_reward(probe, tmp_path)
    assert_close(load_reward(tmp_path).score(PROMPTS, COMPLETIONS), probe.score(PROMPTS, COMPLETIONS))


def test_every_setting_of_the_embedder_comes_back(encoder_folder, tmp_path):
    settings = {"pooling": "last", "max_length": 7, "truncation_side": "right", "dtype": "bfloat16", "layer": 1}
    embedder = Embedder.from_pretrained(encoder_folder, **settings)
    fit_probe(embedder, make_pairs(20)).save_pretrained(tmp_path / "probe")
    again = ProbeReward.from_pretrained(tmp_path / "probe").embedder
    assert again.settings() == embedder.settings()
    assert again.fingerprint == embedder.fingerprint


def test_saving_again_replaces_it(embedder, probe, tmp_path):
    probe.save_pretrained(tmp_path)
    other = fit_probe(embedder, make_pairs(30, seed=5))
    other.save_pretrained(tmp_path)
    assert_close(ProbeReward.from_pretrained(tmp_path).score(PROMPTS, COMPLETIONS), other.score(PROMPTS, COMPLETIONS))


def test_without_uncertainty(embedder, tmp_path):
    probe = fit_probe(embedder, make_pairs(20), ProbeConfig(uncertainty=False))
    probe.save_pretrained(tmp_path)
    again = ProbeReward.from_pretrained(tmp_path)
    assert_close(again.score(PROMPTS, COMPLETIONS), probe.score(PROMPTS, COMPLETIONS))
    with pytest.raises(InputError, match="uncertainty=False"):
        again.score_with_uncertainty(PROMPTS, COMPLETIONS)


def test_on_the_trunk_of_a_saved_reward(reward, tmp_path):
    reward.save_pretrained(tmp_path / "reward")
    probe = fit_probe(Embedder.from_pretrained(tmp_path / "reward", pooling="last"), make_pairs(20))
    probe.save_pretrained(tmp_path / "probe")
    again = ProbeReward.from_pretrained(tmp_path / "probe")
    assert_close(again.score(PROMPTS, COMPLETIONS), probe.score(PROMPTS, COMPLETIONS))
    assert isinstance(load_reward(tmp_path / "reward"), TransformerReward)


def test_an_encoder_of_another_width_is_refused(probe, encoder_folder, tmp_path):
    probe.save_pretrained(tmp_path / "probe")
    make_encoder(hidden=48).save_pretrained(encoder_folder)
    with pytest.raises(InputError, match=r"fitted on an encoder of width 32 \(.*encoder\), but .*encoder has width 48"):
        ProbeReward.from_pretrained(tmp_path / "probe")


def test_an_encoder_with_other_weights_is_refused(probe, encoder_folder, tmp_path):
    before = probe.embedder.fingerprint
    probe.save_pretrained(tmp_path / "probe")
    model = AutoModel.from_pretrained(encoder_folder)
    with torch.no_grad():
        model.encoder.layer[0].output.dense.bias[0] += 0.01
    model.save_pretrained(encoder_folder)
    after = Embedder.from_pretrained(encoder_folder).fingerprint
    with pytest.raises(InputError, match=f"fingerprint {before[:16]} .*encoder has {after[:16]}: its weights"):
        ProbeReward.from_pretrained(tmp_path / "probe")


def test_an_encoder_that_has_moved_can_be_named(probe, encoder_folder, tmp_path):
    expected = probe.score(PROMPTS, COMPLETIONS)
    probe.save_pretrained(tmp_path / "probe")
    encoder_folder.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"the encoder of this probe: .*; if it has moved, give embedder="):
        ProbeReward.from_pretrained(tmp_path / "probe")
    moved = Embedder.from_pretrained(tmp_path / "elsewhere")
    assert_close(ProbeReward.from_pretrained(tmp_path / "probe", embedder=moved).score(PROMPTS, COMPLETIONS), expected)
    other = Embedder.from_pretrained(tmp_path / "elsewhere", pooling="first")
    with pytest.raises(InputError, match="tokenizer or settings have changed"):
        ProbeReward.from_pretrained(tmp_path / "probe", embedder=other)


def test_what_lies_in_memory_only_can_not_be_saved(reward, bag_of_words, tmp_path):
    for embedder in (Embedder.from_reward(reward), bag_of_words):
        with pytest.raises(InputError, match=f"this {type(embedder).__name__} has none: save the model"):
            fit_probe(embedder, make_pairs(20)).save_pretrained(tmp_path)
    assert not list(tmp_path.iterdir())


def test_heads_and_embedder_must_fit(probe, bag_of_words):
    with pytest.raises(InputError, match="the heads read 32 features, but the embedder gives 13"):
        ProbeReward(bag_of_words, probe.heads)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 2}, "field 'schema_version' must be 1"),
        ({"objectiv": []}, "unknown field 'objectiv': did you mean 'objectives'"),
        ({"training": "pear"}, "unknown training 'pear'"),
        ({"objectives": ["kind"]}, "must have 1 rows"),
        ({"heads": "0" * 64}, "heads.safetensors is not the one that was saved with it"),
        ({"embedder": {}}, "field 'source' is missing"),
        ({"fits": [{"objective": "kind"}]}, "lacks the field 'labels'"),
        ({"units": 3}, "not what save_pretrained writes: TypeError"),
    ],
)
def test_refuses_a_broken_file(probe, tmp_path, change, message):
    probe.save_pretrained(tmp_path)
    content = json.loads((tmp_path / "probe.json").read_text())
    (tmp_path / "probe.json").write_text(json.dumps(content | change))
    with pytest.raises(InputError, match=message):
        ProbeReward.from_pretrained(tmp_path)


def test_refuses_what_is_not_there_or_belongs_to_another_save(probe, tmp_path):
    with pytest.raises(InputError, match=r"no probe in .*: it has no probe.json"):
        ProbeReward.from_pretrained(tmp_path)
    probe.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "heads.safetensors")
    tensors["weights"] += 1
    save_file(tensors, tmp_path / "heads.safetensors")
    with pytest.raises(InputError, match="is not the one that was saved with it"):
        ProbeReward.from_pretrained(tmp_path)
    (tmp_path / "heads.safetensors").unlink()
    with pytest.raises(InputError, match=r"heads.safetensors is missing"):
        ProbeReward.from_pretrained(tmp_path)
    (tmp_path / "probe.json").write_text("{")
    with pytest.raises(InputError, match="not what save_pretrained writes: JSONDecodeError"):
        ProbeReward.from_pretrained(tmp_path)
