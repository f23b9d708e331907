import logging

import pytest
import torch
from datasets import Dataset
from huggingface_hub import constants
from safetensors import SafetensorError
from torch.testing import assert_close

from moalign.training.direct import DirectConfig, DirectTrainer
from moalign.training.pair_cache import PairCache, exact_base_digest, reference_key, rewards_key, tokens_digest
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
    base = exact_base_digest(policy)
    shared = quick.policy(tiny_base, size=0.4, conditioned="attention")
    assert base == exact_base_digest(shared)  # adapters are no part of the reference
    key = reference_key(base, texts, "cpu full")
    assert key != reference_key(base, [[3], [4, 5]], "cpu full")
    assert key != reference_key(base, texts, "cpu torch.bfloat16")
    assert base != exact_base_digest(quick.policy(untied_base))
    with torch.no_grad():
        policy.base.model.layers[0].mlp.down_proj.base_layer.weight[0, 0] += 1e-6
    assert exact_base_digest(policy) != base
    other = FunctionReward({"brief": as_long, "helpful": count_words})
    assert len({rewards_key(r, t) for r in (REWARD, other) for t in (["a", "bc"], ["ab", "c"])}) == 4
    assert tokens_digest([[1], [2, 3]]) != tokens_digest([[1, 2], [3]])


def test_the_base_is_read_once_for_all_tables_of_a_run(tiny_base, tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(
        "moalign.training.pair_cache.exact_base_digest",
        lambda policy: taken.append(policy) or exact_base_digest(policy),
    )
    settings = {"output_dir": str(tmp_path), "report_to": [], "use_cpu": True, "disable_tqdm": True}
    config = DirectConfig(**settings, margin_scale="none", cache_dir=str(tmp_path / "cache"))
    parts = {name: ROWS.select([i]) for i, name in enumerate("ab")}
    trainer = DirectTrainer(str(tiny_base), REWARD, config, ROWS, parts)
    assert len(taken) == 1
    assert len(list((tmp_path / "cache").glob("reference-*"))) == 3
    trainer.policy.base.lm_head.to("meta")  # as one whose weights are elsewhere now
    assert trainer._cache.base(trainer.policy) is None


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
    monkeypatch.setenv("HOME", str(tmp_path))
    assert PairCache.of("~/x").folder == tmp_path / "x"
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


def test_neither_does_a_full_disk_or_a_folder_of_somebody_else(tmp_path, caplog, monkeypatch):
    def full(*_):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    cache = PairCache(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("moalign.training.pair_cache.save_file", full)
        assert cache.get("reference", "ab" * 32, lambda: torch.ones(2)).tolist() == [1, 1]
    assert "No space left" in caplog.text
    assert not list(tmp_path.iterdir())

    def forbidden(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.is_file", forbidden)
    assert cache.get("reference", "ab" * 32, lambda: torch.ones(2)).tolist() == [1, 1]
