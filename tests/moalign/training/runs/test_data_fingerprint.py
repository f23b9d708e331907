import json
import math
from types import SimpleNamespace

import pyarrow as pa
import pytest
import torch
from datasets import Dataset, concatenate_datasets
from hypothesis import given
from hypothesis import strategies as st

from moalign.training.runs import data_fingerprint as module
from moalign.training.runs.data_fingerprint import data_fingerprint

from ..safe_runs import pairs

TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
TURNS = st.none() | st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "tool"]), "content": TEXT}), max_size=2
)
ROW = st.fixed_dictionaries(
    {"prompt": TEXT, "turns": TURNS, "label": st.none() | st.floats(0, 1), "n": st.integers(0, 3)}
)


def sum_of(data):
    return data_fingerprint(data)["sha256"]


def test_equal_data_has_an_equal_sum_however_it_came(tmp_path):
    rows = pairs().to_list()
    whole = data_fingerprint(Dataset.from_list(rows))
    assert whole["rows"] == len(rows)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = Dataset.from_json(str(tmp_path / "rows.jsonl"), cache_dir=str(tmp_path / "cache"))
    assert data_fingerprint(read) == data_fingerprint(rows) == whole
    assert data_fingerprint(Dataset.from_list(rows[::-1])) != whole
    assert data_fingerprint(Dataset.from_list(rows).select(range(12))) == whole
    changed = [dict(rows[0], completion_a="other"), *rows[1:]]
    assert data_fingerprint(changed)["sha256"] != whole["sha256"]
    assert data_fingerprint({"a": rows}) == {"a": whole}


def test_streams_are_only_named():
    assert data_fingerprint(iter([1])) == {"kind": "list_iterator"}
    assert data_fingerprint(Dataset.from_list([{"a": 1}]).to_iterable_dataset()) == {"kind": "IterableDataset"}


@given(st.lists(ROW, min_size=1, max_size=7), st.integers(1, 4), st.randoms())
def test_how_rows_lie_in_memory_does_not_count(rows, chunk, random):
    whole = sum_of(rows)
    order = random.sample(range(len(rows)), len(rows))
    inverse = sorted(range(len(rows)), key=order.__getitem__)
    dataset = Dataset.from_list(rows)
    assert sum_of(dataset) == whole
    assert (
        sum_of(
            concatenate_datasets(
                [dataset.select(range(i, min(i + chunk, len(rows)))) for i in range(0, len(rows), chunk)]
            )
        )
        == whole
    )
    assert sum_of(Dataset.from_list([rows[i] for i in order]).select(inverse)) == whole
    assert sum_of(concatenate_datasets([dataset, dataset]).select(range(len(rows), 2 * len(rows)))) == whole


@given(st.lists(ROW, min_size=1, max_size=4), st.lists(ROW, min_size=1, max_size=4))
def test_other_content_has_another_sum(first, second):
    assert (sum_of(first) == sum_of(second)) == (first == second)


@pytest.mark.parametrize(
    ("values", "narrow", "wide"),
    [
        (["a", None, "", "bc"], pa.string(), pa.large_string()),
        ([1, None, 3], pa.int32(), pa.int64()),
        ([["a"], [], None, ["b", None]], pa.list_(pa.string()), pa.large_list(pa.large_string())),
        ([[1, 2], [3, 4]], pa.list_(pa.int64()), pa.list_(pa.int32(), 2)),
    ],
)
def test_types_that_hold_the_same_are_the_same(values, narrow, wide):
    first, second = (Dataset(pa.table({"a": pa.array(values, kind)})) for kind in (narrow, wide))
    assert sum_of(first) == sum_of(second) == sum_of([{"a": value} for value in values])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([{"a": "ab", "b": "c"}], [{"a": "a", "b": "bc"}]),
        ([{"a": "ab"}, {"a": "c"}], [{"a": "a"}, {"a": "bc"}]),
        ([{"a": None}, {"a": "x"}], [{"a": "x"}, {"a": None}]),
        ([{"a": None}], [{"a": ""}]),
        ([{"a": []}, {"a": ["x"]}], [{"a": ["x"]}, {"a": []}]),
        ([{"a": "1"}], [{"a": 1}]),
        ([{"a": "x"}], [{"b": "x"}]),
        ([{"a": {"b": "x"}, "c": "y"}], [{"a": {"b": "x", "c": "y"}}]),
        ([["x"], "y"], ["x", ["y"]]),
        ([{"a": "x"}], [{"a": "x"}] * 2),
    ],
)
def test_neighbours_are_told_apart(first, second):
    assert sum_of(first) != sum_of(second)


def test_a_field_that_is_missing_is_one_that_is_null():
    assert sum_of([{"a": 1}, {"a": 2}]) == sum_of([{"a": 1, "b": None}, {"a": 2}])


def test_long_data_is_summed_part_by_part(monkeypatch):
    rows = pairs().to_list()
    before = sum_of(rows)
    monkeypatch.setattr(module, "_ROWS", 5)
    assert sum_of(rows) == sum_of(Dataset.from_list(rows)) != before
    assert sum_of([*rows[:-1], {**rows[-1], "completion_a": "other"}]) != sum_of(rows)


def test_what_arrow_has_no_type_for_counts_too():
    mixed = ["a text", [{"role": "user", "content": "Hi!"}], {"big": 2**70}, "\ud800"]
    assert sum_of(mixed) == sum_of(list(mixed))
    assert len({sum_of(mixed[:i]) for i in range(5)}) == 5


def test_pair_tables_count_with_their_labels():
    def table(label, prompt="p"):
        return SimpleNamespace(
            prompts=[prompt, "q"], completions=[("a", "b"), ("c", "d")], labels=torch.tensor([[label], [math.nan]])
        )

    assert data_fingerprint(table(1.0)) == data_fingerprint(table(1.0))
    assert data_fingerprint(table(1.0))["rows"] == 2
    assert len({sum_of(t) for t in (table(1.0), table(0.5), table(math.nan), table(1.0, "x"))}) == 4
