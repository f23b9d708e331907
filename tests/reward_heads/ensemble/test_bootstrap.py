import numpy as np
import pytest

from frontier.errors import InputError
from reward_heads.ensemble import EnsembleReward, SharedTrunk, expand_rows, member_names
from reward_heads.examples import read_examples

from ..conftest import make_pairs

RATING = {"prompt": "p", "completion": "c", "scores": {"a": 2.0, "b": None}}
PAIR = {"prompt": "p", "completion_a": "x", "completion_b": "y", "labels": {"b": 0.0}}


def test_without_sampling_every_member_sees_everything():
    rating, pair = expand_rows([RATING, PAIR], 2, sampling="none")
    assert rating["scores"] == {"a#1": 2.0, "a#2": 2.0, "b#1": None, "b#2": None}
    assert pair["labels"] == {"a#1": None, "a#2": None, "b#1": 0.0, "b#2": 0.0}
    assert pair["completion_a"] == "x"
    assert RATING["scores"] == {"a": 2.0, "b": None}  # the input stays as it was


def counts(rows, members, names=("a",)):
    """How often each member has each of the numbered rows."""
    found = np.zeros((max(row["number"] for row in rows) + 1, members), dtype=int)
    for row in rows:
        known = [[row["scores"][f"{name}#{m + 1}"] is not None for m in range(members)] for name in names]
        assert all(each == known[0] for each in known)  # a row is drawn with all its labels
        found[row["number"]] += np.array(known[0])
    return found


def numbered(n):
    return [{"prompt": "p", "completion": "c", "scores": {"a": 1.0, "b": 2.0}, "number": i} for i in range(n)]


def test_halves_are_halves_and_members_differ():
    drawn = counts(expand_rows(numbered(4000), 3, seed=1), 3, ("a", "b"))
    assert drawn.max() == 1
    assert np.allclose(drawn.mean(axis=0), 0.5, atol=0.03)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.05


def test_poisson_repeats_rows_as_often_as_they_are_drawn():
    drawn = counts(expand_rows(numbered(4000), 2, sampling="poisson", seed=1), 2)
    assert np.allclose(drawn.mean(axis=0), 1, atol=0.06)
    assert np.allclose(drawn.var(axis=0), 1, atol=0.12)


def test_same_seed_same_draws_and_groups_stay_together():
    rows = [row | {"user": f"u{i // 4}"} for i, row in enumerate(numbered(200))]
    first, again, other = (expand_rows(rows, 2, group_by="user", seed=s) for s in (3, 3, 4))
    assert first == again != other
    drawn = counts(first, 2)
    drawn = np.concatenate([drawn, np.zeros((200 - len(drawn), 2), dtype=int)]).reshape(50, 4, 2)
    assert (drawn == drawn[:, :1]).all()


@pytest.mark.parametrize("sampling", ["bernoulli", "poisson"])
def test_the_spread_is_the_standard_error_of_one_model_trained_on_everything(sampling):
    # Least squares, whose standard error is known: y = 2 x + noise, predicted at x = 1.
    rng = np.random.default_rng(0)
    x, members, covered, ratios = rng.normal(size=200), 24, 0, []
    for repeat in range(150):
        y = 2 * x + rng.normal(size=200)
        rows = [{"prompt": str(i), "completion": "c", "scores": {"a": float(value)}} for i, value in enumerate(y)]
        expanded = expand_rows(rows, members, sampling=sampling, seed=repeat)
        at = np.array([int(row["prompt"]) for row in expanded])
        labels = np.array([[row["scores"][f"a#{m + 1}"] or np.nan for m in range(members)] for row in expanded])
        w = ~np.isnan(labels)
        slopes = (w * x[at, None] * np.nan_to_num(labels)).sum(0) / (w * x[at, None] ** 2).sum(0)
        std = slopes.std(ddof=1)
        ratios.append(std * np.sqrt((x**2).sum()))  # over the analytic standard error 1 / |x|
        covered += abs(slopes.mean() - 2) < 1.645 * std
    assert abs(np.mean(ratios) - 1) < 0.05
    assert abs(covered / 150 - 0.9) < 0.06


def test_trained_by_the_ordinary_trainer(base, tokenizer, tmp_path):
    from reward_heads import RewardHeadsConfig, RewardHeadsTrainer, TransformerReward

    names = member_names(["kind", "brief"], 2)
    rows = expand_rows([{**r, "labels": {n: r["labels"][n] for n in ("kind", "brief")}} for r in make_pairs(96)], 2)
    config = RewardHeadsConfig(
        output_dir=str(tmp_path), objectives=names, max_steps=30, per_device_train_batch_size=16, learning_rate=3e-3,
        report_to=[], save_strategy="no", use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = RewardHeadsTrainer(TransformerReward.from_base(base, names, tokenizer=tokenizer), config, rows)
    trainer.train()
    ensemble = EnsembleReward(SharedTrunk(trainer.reward), "worst")
    assert ensemble.objectives == ("kind", "brief")
    test = make_pairs(60, seed=9)
    prompts = [row["prompt"] for row in test]
    a, std = ensemble.score_with_uncertainty(prompts, [row["completion_a"] for row in test])
    b = ensemble.score(prompts, [row["completion_b"] for row in test])
    assert (std > 0).all()  # each member has seen other rows
    labels = [row["labels"]["brief"] for row in test]
    right = [
        (gap > 0) == (label > 0.5)
        for gap, label in zip((a - b)[:, 1].tolist(), labels, strict=True)
        if label is not None
    ]
    assert np.mean(right) > 0.7


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([RATING], {"members": 0}, "at least 1"),
        ([RATING], {"members": 2, "sampling": "boostrap"}, "unknown sampling"),
        ([RATING], {"members": 2, "keep": 0.0}, "keep must be above 0"),
        ([RATING | {"scores": None}], {"members": 2, "objectives": ["a"]}, "row 0: needs 'scores'"),
        ([RATING], {"members": 2, "group_by": "user"}, "row 0: the field 'user'"),
        ([RATING], {"members": 20, "objectives": ["a"]}, "objective 'a': member .* of 20 drew none of its labels"),
        ([RATING], {"members": 2, "sampling": "none", "objectives": ["a", "b"]}, "objective 'b': member 1 of 2"),
    ],
)  # fmt: skip
def test_refuses(rows, settings, message):
    with pytest.raises(InputError, match=message):
        expand_rows(rows, **settings)


def test_margins_go_to_every_member():
    row = PAIR | {"margin": {"b": 2.0}}
    [found] = expand_rows([row], 2, sampling="none")
    assert found["margin"] == {"b#1": 2.0, "b#2": 2.0}
    [example] = read_examples([found], ["b#1", "b#2"])
    assert example.margins == (2.0, 2.0)
    assert expand_rows([PAIR | {"margin": 1.5}], 2, sampling="none")[0]["margin"] == 1.5


def test_the_kind_of_a_row_says_which_labels_count():
    both = PAIR | RATING | {"kind": "rating", "labels": {"b": None}}
    [found] = expand_rows([both], 2, sampling="none", objectives=["a"])
    assert found["scores"] == {"a#1": 2.0, "a#2": 2.0}
