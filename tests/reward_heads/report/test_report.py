import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from frontier.errors import InputError
from reward_heads import FunctionReward, Normalizer, VectorFunctionReward
from reward_heads.calibrate import Calibration, Cooled, Identity, calibrate
from reward_heads.diagnose import score_rows
from reward_heads.diagnose.intervals import Resampling
from reward_heads.report import evaluate_reward, page, write_page
from reward_heads.report.evaluation import with_rated_pairs
from reward_heads.transforms import TransformedReward

QUICK = Resampling(resamples=50)
WORDS = FunctionReward(
    {
        "long": lambda prompt, completion: len(completion.split()),
        "loud": lambda prompt, completion: completion.count("!"),
    }
)


def pairs(n=40, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        a, b = ("word " * int(rng.integers(1, 9)) + "!" * int(rng.integers(0, 4)) for _ in range(2))
        labels = {"long": float(len(a) > len(b)), "loud": float(a.count("!") > b.count("!"))}
        rows.append({"prompt": f"p{i % 8}", "completion_a": a, "completion_b": b, "labels": labels})
    return rows


def ratings():
    texts = ["one", "one two", "one two three", "one two three four !"]
    return [
        {"prompt": f"p{k}", "completion": text, "scores": {"long": float(len(text.split())), "loud": 1.0 + k + i}}
        for k in range(3)
        for i, text in enumerate(texts)
    ]


class Tags(HTMLParser):
    """Refuses a page whose tags don't close in order."""

    VOID = ("meta", "img", "br")

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_counts_and_parts_on_pairs():
    report = evaluate_reward(WORDS, pairs(), name="rules", how=QUICK)
    assert (report.diagnosis.n_pairs, report.diagnosis.n_ratings) == (40, 0)
    assert report.diagnosis.n_texts == len(
        {(r["prompt"], r[k]) for r in pairs() for k in ("completion_a", "completion_b")}
    )
    loud = next(p for p in report.diagnosis.accuracy.pairs if p.objective == "loud")
    # Labels call it "not louder" where both are as loud: those are ties of the rule, which count half.
    expected = np.mean(
        [
            0.5
            if (d := r["completion_a"].count("!") - r["completion_b"].count("!")) == 0
            else float((d > 0) == r["labels"]["loud"])
            for r in pairs()
        ]
    )
    assert loud.accuracy.value == pytest.approx(expected)
    assert {e.objective for e in report.diagnosis.calibration} == {"long", "loud"}
    assert len(report.diagnosis.correlation.pairs) == 1
    json.dumps(report.to_json(), allow_nan=False)


def test_ratings_alone_show_where_heads_disagree():
    report = evaluate_reward(WORDS, ratings(), how=QUICK)
    assert (report.diagnosis.n_pairs, report.diagnosis.n_ratings) == (0, 12)
    # "one two three four !" is longest and loudest; no other text is loud, so the two heads never point in opposite ways.
    assert report.diagnosis.disagreement.conflict_share == {"long ~ loud": 0.0}
    opposed = FunctionReward({"long": lambda p, c: len(c), "brief": lambda p, c: -len(c)})
    rows = [row | {"scores": {"long": row["scores"]["long"]}} for row in ratings()]
    assert evaluate_reward(opposed, rows, how=QUICK).diagnosis.disagreement.conflict_share == {"long ~ brief": 1.0}


def test_ratings_are_compared_in_the_units_of_the_reward():
    class InStandardDeviations(VectorFunctionReward):
        units = Normalizer(("long",), (2.5,), (2.0,), 4)

    reward = InStandardDeviations(["long"], lambda prompt, completion: [(len(completion.split()) - 2.5) / 2.0])
    rows = [row | {"scores": {"long": row["scores"]["long"]}} for row in ratings()]
    (found,) = evaluate_reward(reward, rows, how=QUICK).diagnosis.accuracy.ratings
    assert found.mse.value == pytest.approx(0.0, abs=1e-12)
    calibrated, _ = calibrate(reward, rows, method="line")
    (found,) = evaluate_reward(calibrated, rows, how=QUICK).diagnosis.accuracy.ratings
    assert found.mse.value == pytest.approx(0.0, abs=1e-9)  # calibrated scores are ratings already


def test_what_could_not_be_scored_is_counted():
    reward = FunctionReward({"long": lambda p, c: None if c.startswith("word word word") else float(len(c))})
    report = evaluate_reward(reward, pairs(), how=QUICK)
    assert 0 < report.unknown["long"] < report.diagnosis.n_texts
    assert f"{report.unknown['long']} of {report.diagnosis.n_texts} texts" in report.table()
    assert f"long: {report.unknown['long']} of {report.diagnosis.n_texts}" in page(report)


@pytest.mark.parametrize("rows", [pairs(), ratings(), pairs() + ratings()], ids=["pairs", "ratings", "both"])
def test_the_page_is_whole_and_needs_nothing_from_outside(rows, tmp_path):
    text = write_page(evaluate_reward(WORDS, rows, name="rules", how=QUICK), tmp_path / "report.html").read_text()
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert not [
        t
        for t, a in tags.seen
        if t in ("script", "link", "iframe") or "http" in str(a.get("src", "")) + str(a.get("href", ""))
    ]
    assert any(t == "img" and a["src"].startswith("data:image/png;base64,") and a["alt"] for t, a in tags.seen)
    for name in ("long", "loud"):
        assert name in text


def test_texts_cannot_write_markup():
    rows = pairs()
    evil = "<script>alert(1)</script> & more !!!!!!!!"
    for row in rows[:20]:
        row["completion_a"], row["labels"] = evil, {"loud": 0.0}
    text = page(evaluate_reward(WORDS, rows, name="<b>", how=QUICK))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<h1>Reward report: &lt;b&gt;</h1>" in text


def test_one_objective_has_no_correlations():
    report = evaluate_reward(
        FunctionReward({"long": lambda p, c: len(c)}),
        [r | {"labels": {"long": r["labels"]["long"]}} for r in pairs()],
        how=QUICK,
    )
    assert not re.search("different things", page(report))


def test_what_the_labels_are_worth_is_on_the_page():
    rows = [row | {"user": f"u{i % 5}"} for i, row in enumerate(pairs(60))]
    report = evaluate_reward(WORDS, rows, how=QUICK)
    text = page(report)
    assert report.diagnosis.noise is not None
    assert "<h2>The labels</h2>" in text
    assert "flipped labels" in text


def test_refusals():
    with pytest.raises(InputError, match="no row has a label for any of the reward's objectives long, loud"):
        evaluate_reward(WORDS, [row | {"labels": {}} for row in pairs()])
    with pytest.raises(InputError, match="did you mean 'loud'"):
        evaluate_reward(WORDS, pairs(), binary=["lound"])
    with pytest.raises(InputError, match="no rows"):
        evaluate_reward(WORDS, [])


class Standardised(VectorFunctionReward):
    """Words of both heads in standard deviations of their ratings."""

    units = Normalizer(("long", "loud"), (2.5, 3.0), (2.0, 1.5), 4)


def standardised():
    return Standardised(["long", "loud"], lambda p, c: [(len(c.split()) - 2.5) / 2.0, (len(c.split()) - 3.0) / 1.5])


def words_rated():
    return [row | {"scores": dict.fromkeys(("long", "loud"), row["scores"]["long"])} for row in ratings()]


def test_units_go_on_for_objectives_that_a_calibration_left_alone():
    calibrated, _ = calibrate(standardised(), words_rated(), method={"long": "line", "loud": "none"})
    found = evaluate_reward(calibrated, words_rated(), how=QUICK).diagnosis
    assert [r.mse.value for r in found.accuracy.ratings] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert [e.ece for e in found.calibration] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_scores_in_nats_are_not_held_against_ratings():
    calibration = Calibration(("long", "loud"), (Cooled(0.3), Identity()))
    found = evaluate_reward(TransformedReward(standardised(), [calibration]), words_rated(), how=QUICK).diagnosis
    nats, rated = found.accuracy.ratings
    assert np.isnan([nats.mse.value, nats.r2.value]).all()
    assert nats.spearman.value == pytest.approx(1.0)
    assert rated.mse.value == pytest.approx(0.0, abs=1e-9)
    assert [e.objective for e in found.calibration] == ["loud"]


def test_flags_are_not_standardised(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {
            "prompt": f"p{i}",
            "completion": "word " * (i % 6) + "end",
            "scores": {"long": float(rng.random() < i % 6 / 6)},
        }
        for i in range(60)
    ]
    report = evaluate_reward(standardised(), rows, binary=["long"], how=QUICK)
    (error,) = report.diagnosis.calibration
    assert (error.kind, error.n) == ("binary", 60)
    assert np.isnan(report.diagnosis.accuracy.ratings[0].r2.value)
    assert "train it sign_aware" in report.diagnosis.left_out["log-odds of long"]
    assert "train it sign_aware" in write_page(report, tmp_path / "report.html").read_text()
    plain = evaluate_reward(WORDS, rows, binary=["long"], how=QUICK)
    assert "log-odds of long" not in plain.diagnosis.left_out


def test_half_a_surrogate_pair_does_not_stop_the_page(tmp_path):
    rows = [row | {"completion_a": row["completion_a"] + "\ud83d"} for row in pairs()]
    path = write_page(evaluate_reward(WORDS, rows, how=QUICK), tmp_path / "report.html")
    assert "word ?" in path.read_text(encoding="utf-8")


def test_many_completions_of_one_prompt_are_sampled():
    rows = [{"prompt": "p", "completion": f"{'word ' * (i % 9)}{i}", "scores": {"long": float(i)}} for i in range(400)]
    scored = with_rated_pairs(score_rows(WORDS, rows), most=500)
    assert len(scored.a) == len(set(zip(scored.a.tolist(), scored.b.tolist(), strict=True))) == 500
    assert scored.a.max() > 300  # of all rows, not of the first
    assert len(with_rated_pairs(score_rows(WORDS, rows[:20])).a) == 190
