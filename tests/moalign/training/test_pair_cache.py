import logging

import pytest
import torch
from datasets import Dataset
from huggingface_hub import constants
from torch.testing import assert_close

from moalign.training.direct import DirectConfig, DirectTrainer
from moalign.training.pair_cache import PairCache, base_digest, reference_key, rewards_key, tokens_digest
from reward_heads import FunctionReward
from reward_heads.remote import HTTPReward

ROWS = Dataset.from_list(
    [{"prompt": "a b", "completion_a": f" {x} d", "completion_b": " e", "labels": {"brief": 0.3, "helpful": 0.6}} for x in "cfgh"]
)  # fmt: skip


def count_words(prompt, completion):
    return float(len(completion.split()))


def as_long(prompt, completion):
    return float(len(completion)) / 2


REWARD = FunctionReward({"brief": count_words, "helpful": as_long})


def train(base, folder, cache, pairs=ROWS, **changes):
    settings = {
        "output_dir": str(folder),
        "max_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "margin_scale": "none",
    }
    config = DirectConfig(**{**settings, "cache_dir": str(cache), **changes})
    return DirectTrainer(str(base), REWARD, config, pairs).train_dataset


def test_the_second_run_reads_what_the_first_one_kept(tiny_base, tmp_path, caplog):
    cache = tmp_path / "cache"
    first = train(tiny_base, tmp_path / "a", cache)
    kept = sorted(path.name.split("-")[0] for path in cache.iterdir())
    assert kept == ["reference", "rewards"]
    with caplog.at_level(logging.INFO, "moalign.training.pair_cache"):
        again = train(tiny_base, tmp_path / "b", cache, preference="brief=0.5,helpful=0.5", learning_rate=1.0)
    assert caplog.text.count("read from") == 2
    assert torch.equal(first.reference, again.reference)
    assert torch.equal(first.differences, again.differences)
    train(tiny_base, tmp_path / "c", cache, ROWS.select(range(2)))  # other pairs
    assert len(list(cache.iterdir())) == 4


def test_a_damaged_file_is_made_again(tiny_base, tmp_path, caplog):
    cache = tmp_path / "cache"
    first = train(tiny_base, tmp_path / "a", cache)
    for path in cache.iterdir():
        content = bytearray(path.read_bytes())
        content[-1] ^= 1  # a bit of the last number
        path.write_bytes(content if "reference" in path.name else content[:20])
    again = train(tiny_base, tmp_path / "b", cache)
    assert caplog.text.count("cannot be used and is made again") == 2
    assert_close(first.reference, again.reference)
    caplog.clear()
    train(tiny_base, tmp_path / "c", cache)
    assert "made again" not in caplog.text


def test_other_weights_and_other_rewards_have_other_keys(quick, tiny_base, untied_base):
    policy, texts = quick.policy(tiny_base, size=0.1), [[3, 4], [5]]
    key = reference_key(policy, texts, "full")
    assert key == reference_key(
        quick.policy(tiny_base, size=0.4), texts, "full"
    )  # adapters are no part of the reference
    assert key != reference_key(policy, [[3], [4, 5]], "full")
    assert key != reference_key(policy, texts, "torch.bfloat16")
    assert base_digest(policy) != base_digest(quick.policy(untied_base))
    with torch.no_grad():
        policy.base.model.layers[0].mlp.down_proj.base_layer.weight[0, 0] += 1e-6
    assert reference_key(policy, texts, "full") != key
    other = FunctionReward({"brief": as_long, "helpful": count_words})
    assert len({rewards_key(r, t) for r in (REWARD, other) for t in (["a", "bc"], ["ab", "c"])}) == 4
    assert tokens_digest([[1], [2, 3]]) != tokens_digest([[1, 2], [3]])


def test_what_answers_from_elsewhere_is_not_kept(caplog):
    class Wrapped:
        objectives = ("helpful",)

        def __init__(self):
            self.parts = [HTTPReward("http://127.0.0.1:9/score", ["helpful"])]

    with caplog.at_level(logging.INFO, "moalign.training.pair_cache"):
        assert rewards_key(Wrapped(), ["a"]) is None
    assert "answers from elsewhere" in caplog.text


def test_settings(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    assert PairCache.of("off") is None
    assert PairCache.of(None).folder == tmp_path / "moalign"
    assert PairCache.of(str(tmp_path / "x")).folder == tmp_path / "x"


def test_by_default_only_what_cannot_change_is_kept(tiny_base, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    train(tiny_base, tmp_path / "a", "", cache_dir=None)
    assert [path.name.split("-")[0] for path in (tmp_path / "home" / "moalign").iterdir()] == ["reference"]
    train(tiny_base, tmp_path / "b", "off")
    assert len(list((tmp_path / "home" / "moalign").iterdir())) == 1


@pytest.mark.parametrize("readable", [True, False])
def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path, caplog, readable):
    place = tmp_path / "file"
    place.write_text("no folder")
    made = PairCache(place if readable else place / "deeper").get("reference", "ab" * 32, lambda: torch.ones(2))
    assert made.tolist() == [1, 1]
    assert "cannot be written" in caplog.text
