import json
import math
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontier.errors import InputError
from moalign.data.records import BadRow, extract_prompt, pair_record, prompt_record, rating_record, unique_keys

USER = {"role": "user", "content": "What colour is the sky?"}
BLUE = {"role": "assistant", "content": "Blue."}
GREEN = {"role": "assistant", "content": "Green."}


def pair(**changes):
    row = {"prompt": "Q", "completion_a": "A", "completion_b": "B", "labels": {"helpful": "a", "brief": None}}
    return {**row, **changes}


def rating(**changes):
    return {"prompt": "Q", "completion": "A", "scores": {"helpful": 3}, **changes}


def without(row, field):
    return {key: value for key, value in row.items() if key != field}


def test_pair_by_hand():
    row = pair(labels={"x": "a", "y": "b", "z": "tie", "p": 0.25, "one": 1, "zero": 0, "none": None}, user="ann")
    assert pair_record(row) == {
        "prompt": "Q",
        "completion_a": "A",
        "completion_b": "B",
        "labels": {"x": 1.0, "y": 0.0, "z": 0.5, "p": 0.25, "one": 1.0, "zero": 0.0, "none": None},
        "user": "ann",
    }


def test_rating_by_hand():
    got = rating_record(rating(scores={"helpful": -3, "brief": 1e9, "safe": None}, user=17))
    assert got["scores"] == {"helpful": -3.0, "brief": 1e9, "safe": None}
    assert got["user"] == "17"
    assert rating_record(rating(completion=""))["completion"] == ""  # a model may answer nothing


def test_conversations():
    got = pair_record(pair(prompt=[USER], completion_a=[{**BLUE, "name": None}], completion_b=[GREEN]))
    assert got["prompt"] == [USER]
    assert got["completion_a"] == [BLUE]  # the null that Arrow adds is gone
    assert prompt_record({"prompt": [USER], "anything": 3}) == {"prompt": [USER]}


def test_flat_columns_and_text_numbers():
    row = {**without(pair(), "labels"), "labels.helpful": "0.25", "labels.brief": "b", "labels.safe": None}
    assert pair_record(row, text_numbers=True)["labels"] == {"helpful": 0.25, "brief": 0.0, "safe": None}
    with pytest.raises(BadRow, match=r"field 'labels.helpful': found '0.25'"):
        pair_record(row)
    row = rating(scores='{"helpful": 2.5, "brief": null}')
    assert rating_record(row, text_numbers=True)["scores"] == {"helpful": 2.5, "brief": None}
    with pytest.raises(BadRow, match="field 'scores': found"):
        rating_record(row)
    with pytest.raises(BadRow, match=r"both as one field and as columns like 'scores.safe'"):
        rating_record(rating(**{"scores.safe": 1}))


def test_trl_rows():
    row = {"prompt": "Q", "chosen": "A", "rejected": "B", "objective": "helpful"}
    wanted = {"prompt": "Q", "completion_a": "A", "completion_b": "B", "labels": {"helpful": 1.0}, "user": None}
    assert pair_record(row) == wanted
    assert pair_record(without(row, "objective"), ["helpful"]) == wanted
    implicit = {"chosen": [USER, BLUE], "rejected": [USER, GREEN], "objective": "helpful"}
    got = pair_record(implicit)
    assert (got["prompt"], got["completion_a"], got["completion_b"]) == ([USER], [BLUE], [GREEN])
    assert prompt_record(implicit) == {"prompt": [USER]}


@pytest.mark.parametrize(
    ("changes", "objectives", "message"),
    [
        ({"objective": None}, None, "field 'objective': missing; a row with 'chosen' and 'rejected' needs"),
        ({"objective": None}, ["x", "y"], "field 'objective': missing"),
        ({"objective": "helpfull"}, ["helpful", "y"], "field 'objective': unknown objective 'helpfull': did you mean"),
        ({"objective": 3}, None, "field 'objective': found 3"),
        ({"rejected": None}, None, "field 'rejected': missing"),
        ({"rejected": 3}, None, "field 'rejected': found 3, allowed: a string, or a list"),
        ({"prompt": None}, None, "share no beginning to take as the prompt"),
        ({"prompt": None, "rejected": [GREEN]}, None, "field 'rejected': .*the same style as 'chosen'"),
        ({"prompt": None, "rejected": None}, None, "field 'rejected': missing"),
        (
            {"chosen": [USER, BLUE], "prompt": [USER]},
            None,
            r"field 'chosen\[0\].role': found 'user'.*belongs to 'prompt'",
        ),
    ],
)
def test_trl_rows_refused(changes, objectives, message):
    row = {"prompt": "Q", "chosen": "A", "rejected": "B", "objective": "helpful", **changes}
    with pytest.raises(BadRow, match=message):
        pair_record(row, objectives)


MESSAGE = st.builds(
    lambda r, c: {"role": r, "content": c}, st.sampled_from(["user", "assistant"]), st.sampled_from("xy")
)


@given(
    st.one_of(
        st.tuples(*[st.text("ab ", min_size=1, max_size=8)] * 2),
        st.tuples(*[st.lists(MESSAGE, min_size=1, max_size=4)] * 2),
    )
)
@settings(deadline=None)
def test_the_prompt_is_extracted_as_trl_does(both):
    from trl import extract_prompt as trl_extract

    row = {"chosen": both[0], "rejected": both[1]}
    try:
        got = extract_prompt(row)
    except BadRow:
        # Where nothing is shared TRL goes on with an empty prompt, or (a text that ends in a space) wraps around.
        assert both[0][0] != both[1][0] or min(map(len, both)) == 1 or both[0][0] == " "
        return
    assert got == trl_extract(row)


@pytest.mark.parametrize(
    "value", ["c", "A", "", "0.5", -0.1, 1.1, math.nan, math.inf, True, False, [0.5], Decimal("0.5"), 10**400]
)
def test_labels_refused(value):
    with pytest.raises(BadRow) as error:
        pair_record(pair(labels={"helpful": value}))
    assert str(error.value).startswith("field 'labels.helpful': found ")
    assert str(error.value).endswith("allowed: 'a', 'b', 'tie', a probability in [0, 1], or null")


@pytest.mark.parametrize("value", ["3", "a", math.nan, math.inf, -math.inf, True, [1], {}, 10**400])
def test_scores_refused(value):
    with pytest.raises(BadRow, match=r"field 'scores.helpful': found .*, allowed: a finite number, or null"):
        rating_record(rating(scores={"helpful": value}))


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "x", ""])
def test_scores_as_text_refused(value):
    with pytest.raises(BadRow, match="allowed: a finite number"):
        rating_record(rating(scores={"helpful": value}), text_numbers=True)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (without(pair(), "prompt"), "field 'prompt': missing; Found fields: completion_a, completion_b, labels"),
        (without(pair(), "completion_b"), "field 'completion_b': missing; Found fields"),
        ({**without(pair(), "labels"), "label": {}}, "field 'labels': missing; did you mean 'label'"),
        ({**without(pair(), "labels"), "label.helpful": "a"}, "field 'labels': missing; did you mean 'label'"),
        (pair(completion_b=None), "field 'completion_b': missing .null or an empty cell"),
        (pair(prompt=""), "field 'prompt': found '', allowed: text that is not blank"),
        (pair(prompt=" \n"), "field 'prompt': found .*not blank"),
        (pair(prompt=[]), r"field 'prompt': found \[\], allowed: text"),
        (pair(prompt=[{"role": "user", "content": " "}]), "field 'prompt': .*not blank"),
        (pair(prompt=3), "field 'prompt': found 3, allowed: a string, or a list"),
        (pair(prompt=["hi"]), r"field 'prompt\[0\]': found 'hi', allowed: a message"),
        (
            pair(prompt=[{"role": "bot", "content": "x"}]),
            r"field 'prompt\[0\].role': found 'bot', allowed: 'system', .*'user'",
        ),
        (pair(prompt=[{"content": "x"}]), r"field 'prompt\[0\].role': found None"),
        (
            pair(prompt=[{"role": "user", "content": None}]),
            r"field 'prompt\[0\].content': found None, allowed: a string",
        ),
        (
            pair(prompt=[USER, {**BLUE, "tool_calls": [1]}]),
            r"field 'prompt\[1\].tool_calls': .*only 'role' and 'content'",
        ),
        (pair(completion_a=[BLUE]), "field 'completion_a': .*the same style as 'prompt', which is a string"),
        (pair(prompt=[USER], completion_a="x"), "field 'completion_a': .*which is a list of messages"),
        (pair(prompt=[USER], completion_a=[]), r"field 'completion_a': found \[\], allowed: at least one message"),
        (pair(prompt=[USER], completion_a=[USER]), r"field 'completion_a\[0\].role': found 'user'"),
        (pair(labels={}), r"field 'labels': found \{\}, allowed: an object with one entry per objective"),
        (pair(labels="a"), "field 'labels': found 'a', allowed: an object"),
        (pair(labels={"a=b": "a"}), "field 'labels': objective 'a=b': the character '='"),
        (pair(labels={"": "a"}), "field 'labels': objective names must be"),
        (pair(user=""), "field 'user': found ''"),
        (pair(user=1.5), "field 'user': found 1.5"),
        (pair(user=True), "field 'user': found True"),
        (pair(prompt={"x" * 200: 1}), r"found \{'xxx.{60,80}\.\.\., allowed"),
    ],
)
def test_rows_refused(row, message):
    with pytest.raises(BadRow, match=message):
        pair_record(row)


def test_unknown_objectives_are_refused_when_the_objectives_are_given():
    row = pair(labels={"helpfull": None})
    with pytest.raises(
        BadRow, match=r"field 'labels.helpfull': unknown objective 'helpfull': did you mean 'helpful'\?"
    ):
        pair_record(row, ["helpful", "brief"])
    assert pair_record(row)["labels"] == {"helpfull": None}


def test_unique_keys():
    assert unique_keys([("a", 1), ("b", 2)]) == {"a": 1, "b": 2}
    with pytest.raises(ValueError, match="key 'a' is given twice"):
        unique_keys([("a", 1), ("b", 2), ("a", 1)])


def test_margins_and_documents_are_kept_where_there_are_any(tmp_path):
    from moalign.data import read_pairs, read_records

    base = {"prompt": "p", "completion_a": "x", "completion_b": "y"}
    rows = [
        base | {"labels": {"k": "a", "j": 0.2}, "margin": {"k": 1.5}, "document": "d1"},
        base | {"labels": {"k": "b"}, "margin": 2},
        base | {"labels": {"k": "tie"}},
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(read_pairs(str(path)).dataset)
    assert [row["margin"] for row in found] == [{"k": 1.5, "j": None}, {"k": 2.0, "j": None}, {"k": None, "j": None}]
    assert [row["document"] for row in found] == ["d1", None, None]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[2:]))
    assert set(read_pairs(str(path)).dataset.column_names) == {
        "prompt",
        "completion_a",
        "completion_b",
        "labels",
        "user",
    }
    for wrong, message in [
        ({"k": -1}, r"field 'margin\.k'.*at least 0"),
        ("0.5", "field 'margin'.*at least 0"),
        ({"kk": 1}, "did you mean 'k'"),
    ]:
        path.write_text(json.dumps(rows[0] | {"margin": wrong}) + "\n")
        with pytest.raises(InputError, match=message):
            read_pairs(str(path))
    path.write_text(json.dumps(rows[0] | {"margin": {"k": -1}}) + "\n")
    with pytest.raises(InputError, match=r"pairs\.jsonl:1: field 'margin\.k'.*at least 0"):
        read_records(str(path))


def test_a_document_that_turns_up_late_fits_the_rows_before_it():
    from moalign.data.table import CHUNK, TableBuilder

    base = {"prompt": "p", "completion_a": "x", "completion_b": "y", "labels": {"k": 1}}
    table = TableBuilder("pairs")
    for _ in range(CHUNK):
        table.add(pair_record(base))
    table.add(pair_record({**base, "document": "d", "margin": 1}))
    found = table.dataset()
    assert (found[0]["document"], found[CHUNK]["document"]) == (None, "d")
    assert (found[0]["margin"], found[CHUNK]["margin"]) == ({"k": None}, {"k": 1.0})


def test_flat_margins_are_not_called_ignored(tmp_path):
    from moalign.data import read_pairs

    path = tmp_path / "pairs.csv"
    path.write_text("prompt,completion_a,completion_b,labels.k,margin.k\np,x,y,1,0.5\n")
    found = read_pairs(str(path))
    assert found.dataset[0]["margin"] == {"k": 0.5}
    assert found.ignored_columns == ()
