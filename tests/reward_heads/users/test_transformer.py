import pytest
import torch
from torch.testing import assert_close

from reward_heads.users.config import UserGroupsConfig
from reward_heads.users.transformer import TokenizedPairs, TransformerScorer

CONFIG = UserGroupsConfig(learning_rate=1e-2, num_epochs=2, rounds=2, batch_size=8, device="cpu")


@pytest.fixture
def texts(reward, rows_of):
    rows = rows_of(pairs_per_user=4)
    sides = [
        reward.encode([r["prompt"] for r in rows], [r[side] for r in rows]) for side in ("completion_a", "completion_b")
    ]
    return TokenizedPairs(*sides), torch.tensor([r["labels"]["liked"] for r in rows], dtype=torch.float64), sides


def test_each_distinct_text_is_kept_once(texts):
    tokenized, _labels, (firsts, seconds) = texts
    assert len(tokenized.texts) == len({tuple(row) for row in firsts + seconds}) == 5
    rows = torch.tensor([3, 0, 3])
    assert tokenized.batch(rows) == [firsts[3], firsts[0], firsts[3], seconds[3], seconds[0], seconds[3]]
    used, first, second = tokenized.of_pairs(rows)
    assert [used[i] for i in first] == [firsts[3], firsts[0], firsts[3]]
    assert [used[i] for i in second] == [seconds[3], seconds[0], seconds[3]]


def test_differences_are_those_of_the_scores(reward, texts):
    tokenized, labels, (firsts, seconds) = texts
    scorer = TransformerScorer(reward, tokenized, labels, len(labels), CONFIG)
    rows = torch.tensor([5, 1, 7])
    expected = reward.outputs([firsts[i] for i in rows]) - reward.outputs([seconds[i] for i in rows])
    assert_close(scorer.differences(rows).float(), expected, atol=1e-5, rtol=1e-4)


def test_a_head_without_weight_is_not_trained(reward, texts):
    tokenized, labels, _ = texts
    before = reward.model.score.weight.detach().clone()
    weights = torch.zeros(len(labels), 3, dtype=torch.float64)
    weights[:, 1] = 1.0
    scorer = TransformerScorer(reward, tokenized, labels, len(labels), CONFIG)
    scorer.fit(torch.arange(len(labels)), weights)
    moved = (reward.model.score.weight.detach() - before).abs().amax(1) > 0
    assert moved.tolist() == [False, True, False]


def test_rounds_share_the_steps_and_the_rate_falls_to_nothing(reward, texts):
    tokenized, labels, _ = texts
    scorer = TransformerScorer(reward, tokenized, labels, 30, CONFIG)
    assert scorer.steps == 8  # 2 · 30 / 8, rounded up
    rows, weights = torch.arange(30), torch.ones(30, 3, dtype=torch.float64) / 3
    scorer.fit(rows, weights)
    assert scorer.done == 4
    scorer.fit(rows, weights)
    assert scorer.done == 8
    assert scorer.optimizer.param_groups[0]["lr"] == pytest.approx(1e-2 / 8)
    scorer.fit(rows, weights)  # more rounds than planned find nothing left to do
    assert scorer.done == 8


def test_an_epoch_sees_every_pair_once(reward, texts):
    tokenized, labels, _ = texts
    scorer = TransformerScorer(reward, tokenized, labels, len(labels), CONFIG)
    seen = torch.cat(list(scorer._epoch(torch.arange(len(labels)))))
    assert sorted(seen.tolist()) == list(range(len(labels)))
