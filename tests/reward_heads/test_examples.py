import math

import pytest
from datasets import Dataset, DatasetDict, concatenate_datasets

from frontier.errors import InputError
from reward_heads.examples import check_every_objective_is_labelled, labelled_objectives, read_examples

PAIR = {"prompt": "p", "completion_a": "x", "completion_b": "y", "labels": {"a": 1, "b": None}}
RATING = {"prompt": "p", "completion": "x", "scores": {"b": 2.5}}


def test_pairs_and_ratings_in_one_list():
    pair, rating = read_examples([PAIR | {"user": "u1"}, RATING], ["a", "b"])
    assert (pair.completion, pair.other, pair.is_pair) == ("x", "y", True)
    assert pair.targets[0] == 1.0
    assert math.isnan(pair.targets[1])
    assert (rating.completion, rating.other, rating.is_pair) == ("x", None, False)
    assert math.isnan(rating.targets[0])
    assert rating.targets[1] == 2.5


def test_concatenated_datasets():
    rows = concatenate_datasets([Dataset.from_list([PAIR]), Dataset.from_list([RATING])])
    assert [example.is_pair for example in read_examples(rows, ["a", "b"])] == [True, False]


def test_a_kind_column_decides():
    row = PAIR | RATING | {"kind": "rating"}
    assert not read_examples([row], ["a", "b"])[0].is_pair
    with pytest.raises(InputError, match="field 'kind': must be 'pair' or 'rating', found 'pairs'"):
        read_examples([row | {"kind": "pairs"}], ["a", "b"])


def test_nan_is_missing():
    assert math.isnan(read_examples([PAIR | {"labels": {"a": math.nan}}], ["a"])[0].targets[0])


@pytest.mark.parametrize("value", [1.01, -0.5, "a", {}, [1], math.inf])
def test_refuses_a_label_that_is_no_probability(value):
    with pytest.raises(
        InputError, match=r"data, row 1, field 'labels', objective 'a': must be the probability in \[0, 1\]"
    ):
        read_examples([PAIR, PAIR | {"labels": {"a": value}}], ["a", "b"], what="data")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p", "chosen": "x"}, "row 0: a pair needs .* found prompt, chosen"),
        (
            PAIR | {"completion_b": None},
            "row 0, field 'completion_b': must be a text or a list of messages, found None",
        ),
        (PAIR | {"prompt": 3}, "row 0, field 'prompt'"),
        (PAIR | {"labels": None}, "row 0, field 'labels': must be a dictionary"),
        (RATING | {"scores": {"b": math.inf}}, "row 0, field 'scores', objective 'b': must be a finite number or null"),
        (RATING | {"scores": {"c": 1.0}}, "unknown objective 'c'"),
        ("text", "row 0: must be a dictionary, found 'text'"),
    ],
)
def test_refuses_a_broken_row(row, message):
    with pytest.raises(InputError, match=message):
        read_examples([row], ["a", "b"])


def test_other_objectives_may_be_ignored():
    (example,) = read_examples([PAIR], ["b"], ignore_others=True)
    assert len(example.targets) == 1


def test_an_absent_name_in_a_datasets_dataset_is_no_label():
    # datasets gives every row the keys of all rows, with None.
    read_examples([PAIR | {"labels": {"a": 1.0, "stray": None}}], ["a"])


def test_labelled_objectives_in_order_of_appearance():
    assert labelled_objectives([PAIR, RATING, PAIR]) == ("a", "b")
    assert labelled_objectives([PAIR]) == ("a",)
    assert labelled_objectives([PAIR | {"labels": {"z": None, "a": 0}}, PAIR | {"labels": {"z": 1}}]) == ("z", "a")
    assert labelled_objectives([]) == ()


def test_labels_of_nan_are_none():
    assert labelled_objectives([PAIR | {"labels": {"z": math.nan, "a": 0}}]) == ("a",)
    read_examples([PAIR | {"labels": {"a": 1.0, "stray": math.nan}}], ["a"])


def test_refuses_what_is_no_list_of_rows():
    splits = DatasetDict(train=Dataset.from_list([PAIR]))
    for read in (labelled_objectives, lambda rows, what: read_examples(rows, ["a"], what=what)):
        with pytest.raises(InputError, match=r"data is a mapping of splits, not rows: pass data\['train'\]"):
            read(splits, what="data")
        with pytest.raises(InputError, match=r"pass data\['test'\]"):
            read({"test": [PAIR]}, what="data")
    with pytest.raises(InputError, match="data, row 1: must be a dictionary, found 'text'"):
        labelled_objectives([PAIR, "text"], what="data")


def test_every_objective_needs_a_label():
    examples = read_examples([PAIR, PAIR], ["a", "b"])
    with pytest.raises(InputError, match="objective 'b' has no label in any of the 2 rows"):
        check_every_objective_is_labelled(examples, ["a", "b"])
    check_every_objective_is_labelled(read_examples([PAIR, RATING], ["a", "b"]), ["a", "b"])
    with pytest.raises(InputError, match="dataset has no rows"):
        check_every_objective_is_labelled([], ["a"])


# --- margins and ranges ----------------------------------------------------------------------------------------------------------


def test_margins_by_objective_or_for_all():
    rows = [PAIR, PAIR | {"margin": {"b": 2, "a": None}}, PAIR | {"margin": 0.5}, RATING | {"margin": {"a": None}}]
    assert [e.margins for e in read_examples(rows, ["a", "b"])] == [None, (0.0, 2.0), (0.5, 0.5), None]


def test_a_margin_of_nan_is_none():
    given = [math.nan, {"a": math.nan, "stray": math.nan}, {"a": math.nan, "b": 2}]
    rows = [PAIR | {"margin": margin} for margin in given] + [RATING | {"margin": math.nan}]
    assert [e.margins for e in read_examples(rows, ["a", "b"])] == [None, None, (0.0, 2.0), None]


@pytest.mark.parametrize("margin", [-0.1, math.inf, "1", True])
def test_refuses_a_margin_that_is_none(margin):
    for given in (margin, {"a": margin}):
        with pytest.raises(InputError, match=r"row 1, field 'margin'.*: a margin says .* at least 0, found"):
            read_examples([PAIR, PAIR | {"margin": given}], ["a", "b"])


def test_refuses_a_margin_of_a_rating_or_an_unknown_objective():
    with pytest.raises(InputError, match="row 0, field 'margin': only a pair has a margin"):
        read_examples([RATING | {"margin": {"b": 1}}], ["a", "b"])
    with pytest.raises(InputError, match="row 0, field 'margin': unknown objective 'c'"):
        read_examples([PAIR | {"margin": {"c": 1}}], ["a", "b"])
    assert read_examples([PAIR | {"margin": {"c": 1}}], ["a", "b"], ignore_others=True)[0].margins == (0.0, 0.0)


def test_refuses_a_rating_out_of_range():
    read_examples([RATING, PAIR], ["a", "b"], rating_range={"b": (1, 5), "a": (7, 9)})
    message = r"reviews.jsonl, row 1, field 'scores', objective 'b': a rating must be between 1 and 5 \(rating_range\), found 50"
    with pytest.raises(InputError, match=message):
        read_examples([RATING, RATING | {"scores": {"b": 50}}], ["b"], what="reviews.jsonl", rating_range={"b": (1, 5)})
