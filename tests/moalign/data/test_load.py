import csv
import gzip
import importlib.util
import json
import logging
import math
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frontier.errors import InputError
from moalign.data import read_pairs, read_prompts, read_ratings, read_records, write_jsonl

PAIRS = [
    {"prompt": "p1", "completion_a": "a1", "completion_b": "b1", "labels": {"helpful": "a", "brief": "b"}, "user": "u"},
    {
        "prompt": "p2",
        "completion_a": "a2",
        "completion_b": "b2",
        "labels": {"helpful": "tie", "brief": None},
        "user": None,
    },
    {
        "prompt": "p3",
        "completion_a": "a3",
        "completion_b": "b3",
        "labels": {"helpful": 0.2, "brief": None},
        "user": None,
    },
]
CANONICAL = [
    {**PAIRS[0], "labels": {"helpful": 1.0, "brief": 0.0}},
    {**PAIRS[1], "labels": {"helpful": 0.5, "brief": None}},
    {**PAIRS[2], "labels": {"helpful": 0.2, "brief": None}},
]
RATINGS = [
    {"prompt": "p1", "completion": "c1", "scores": {"helpful": 1.0, "brief": -2.5}, "user": None},
    {"prompt": "p2", "completion": "c2", "scores": {"helpful": None, "brief": 3.0}, "user": "7"},
]


def save(rows, path, values):
    """The rows in the format that the path's ending names."""
    if path.suffix == ".parquet":
        datasets.Dataset.from_list(rows).to_parquet(path)
        return path
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else open(path, "w", newline="") as file:
        if ".csv" in path.name:
            flat = [
                {
                    **{k: v for k, v in row.items() if k != values},
                    **{f"{values}.{k}": v for k, v in row[values].items()},
                }
                for row in rows
            ]
            writer = csv.DictWriter(file, flat[0])
            writer.writeheader()
            writer.writerows(flat)
        elif ".jsonl" in path.name:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            json.dump(rows, file, indent=1)
    return path


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "json", "json.gz", "csv", "csv.gz", "parquet"])
def test_every_format_reads_the_same(tmp_path, ending):
    # Arrow has one type per column: there the labels are numbers.
    pairs = read_records(save(CANONICAL if ending == "parquet" else PAIRS, tmp_path / f"pairs.{ending}", "labels"))
    assert pairs.kind == "pairs"
    assert pairs.dataset.to_list() == CANONICAL
    assert pairs.objectives == ("helpful", "brief")
    ratings = read_records(save(RATINGS, tmp_path / f"ratings.{ending}", "scores"))
    assert ratings.kind == "ratings"
    assert ratings.dataset.to_list() == RATINGS
    prompts = read_prompts(tmp_path / f"pairs.{ending}")
    assert prompts.kind == "prompts"
    assert prompts.dataset.to_list() == [{"prompt": "p1"}, {"prompt": "p2"}, {"prompt": "p3"}]
    for read in (pairs, ratings, prompts):
        assert (read.skipped, read.bad_rows_path) == (0, None)
    assert [p.name for p in tmp_path.glob("*.bad*")] == []


def test_matrix_by_hand():
    pairs = read_pairs(datasets.Dataset.from_list(CANONICAL), objectives=["brief", "safe", "helpful"])
    assert pairs.objectives == ("brief", "safe", "helpful")
    nan = math.nan
    np.testing.assert_array_equal(pairs.matrix(), [[0, nan, 1], [nan, nan, 0.5], [nan, nan, 0.2]])
    assert list(pairs.dataset[0]["labels"]) == ["brief", "safe", "helpful"]
    assert len(pairs) == 3
    with pytest.raises(InputError, match="prompts have no labels"):
        read_prompts(datasets.Dataset.from_list(CANONICAL)).matrix()


def test_canonical_records_read_back_the_same(tmp_path):
    first = read_pairs(save(PAIRS, tmp_path / "pairs.jsonl", "labels"))
    assert write_jsonl(first.dataset, tmp_path / "again.jsonl.gz") == 3
    assert read_pairs(tmp_path / "again.jsonl.gz").dataset.to_list() == first.dataset.to_list()
    assert read_pairs(first.dataset).dataset.to_list() == first.dataset.to_list()


def test_conversations_in_every_format(tmp_path):
    said = {"role": "user", "content": "hé"}
    row = {"prompt": [said], "completion": [{"role": "assistant", "content": "ho"}], "scores": {"x": 1.0}, "user": None}
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    datasets.Dataset.from_list([row]).to_parquet(tmp_path / "x.parquet")
    with open(tmp_path / "x.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [["prompt", "completion", "scores"], [json.dumps(row[k]) for k in ("prompt", "completion", "scores")]]
        )
    for ending in ("jsonl", "parquet", "csv"):
        assert read_ratings(tmp_path / f"x.{ending}").dataset.to_list() == [row]


def test_one_style_per_source(tmp_path):
    talk = {"prompt": [{"role": "user", "content": "hi"}]}
    path = tmp_path / "x.jsonl"
    write_jsonl([{"prompt": "hi"}, talk], path)
    with pytest.raises(
        InputError, match=r"x.jsonl:2: field 'prompt': found a list of messages, where the rows before have strings"
    ):
        read_prompts(path)
    assert read_prompts(path, skip_bad_rows=True).skipped == 1


def test_trl_preference_sets():
    rows = [
        {"prompt": "p", "chosen": "c", "rejected": "r", "objective": "helpful"},
        {"prompt": "p", "chosen": "r", "rejected": "c", "objective": "brief"},
    ]
    pairs = read_records(datasets.Dataset.from_list(rows))
    assert pairs.kind == "pairs"
    assert pairs.dataset.to_list() == [
        {
            "prompt": "p",
            "completion_a": "c",
            "completion_b": "r",
            "labels": {"helpful": 1.0, "brief": None},
            "user": None,
        },
        {
            "prompt": "p",
            "completion_a": "r",
            "completion_b": "c",
            "labels": {"helpful": None, "brief": 1.0},
            "user": None,
        },
    ]
    plain = datasets.Dataset.from_list(rows).remove_columns("objective")
    assert read_pairs(plain, objectives=["safe"]).objectives == ("safe",)
    with pytest.raises(InputError, match="dataset: row 1: field 'objective': missing"):
        read_pairs(plain)


def test_an_objective_that_turns_up_late_is_null_before(monkeypatch):
    monkeypatch.setattr("moalign.data.table.CHUNK", 4)
    rows = [{"prompt": "p", "completion": str(i), "scores": {"x" if i < 6 else "y": float(i)}} for i in range(10)]
    ratings = read_ratings(_lines(rows))
    assert ratings.objectives == ("x", "y")
    assert [r["completion"] for r in ratings.dataset] == [str(i) for i in range(10)]
    nan = math.nan
    np.testing.assert_array_equal(ratings.matrix(), [[i, nan] if i < 6 else [nan, i] for i in range(10)])
    assert ratings.dataset.select([8, 1])["scores"] == [{"x": None, "y": 8.0}, {"x": 1.0, "y": None}]


def _lines(rows):
    return datasets.IterableDataset.from_generator(lambda: iter(rows))


def test_the_fingerprint_follows_the_content(tmp_path):
    """TRL caches by it: the same records must give the same one in another run, other records another."""
    path = save(PAIRS, tmp_path / "pairs.jsonl", "labels")
    here = read_pairs(path).dataset._fingerprint
    code = "import sys; from moalign.data import read_pairs; print(read_pairs(sys.argv[1]).dataset._fingerprint)"
    there = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert here == there
    assert read_pairs(save(PAIRS[:2], path, "labels")).dataset._fingerprint != here


def bad_file(tmp_path):
    lines = [json.dumps(PAIRS[0]) for _ in range(20)]
    lines[3] = json.dumps({**PAIRS[0], "labels": {"helpful": "c"}})
    lines[9] = json.dumps({**PAIRS[0], "labels": {"helpful": math.nan}})
    lines[16] = '{"prompt": "broken"'
    lines[18] = "[1]"
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path, lines


def test_the_first_bad_row_is_named_and_nothing_is_written(tmp_path):
    path, lines = bad_file(tmp_path)
    with pytest.raises(InputError) as error:
        read_pairs(path)
    wanted = (
        f"{path}:4: field 'labels.helpful': found 'c', allowed: 'a', 'b', 'tie', a probability in [0, 1], or null. "
    )
    assert str(error.value).startswith(wanted)
    path.write_text("\n".join([lines[0]] * 16 + [lines[16]]))
    for read in (read_pairs, read_records):
        with pytest.raises(InputError, match=r"pairs.jsonl:17: not valid JSON: Expecting ',' delimiter at column 20"):
            read(path)
    assert [p.name for p in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_bad_rows_are_skipped_counted_and_kept(tmp_path, caplog):
    path, lines = bad_file(tmp_path)
    with caplog.at_level(logging.WARNING):
        pairs = read_records(path, skip_bad_rows=True)
    assert (len(pairs), pairs.skipped, pairs.bad_rows_path) == (16, 4, tmp_path / "pairs.bad.jsonl")
    assert f"4 bad rows skipped, written to {pairs.bad_rows_path}" in caplog.text
    bad = [json.loads(line) for line in pairs.bad_rows_path.read_text().splitlines()]
    assert [row["line"] for row in bad] == [4, 10, 17, 19]
    assert bad[0]["row"] == json.loads(lines[3])
    assert "nan" in bad[1]["row"]  # JSON has no NaN: the row as it prints
    assert bad[2]["row"] == lines[16]
    assert "not valid JSON" in bad[2]["reason"]
    assert bad[3] == {"line": 19, "reason": "found list, allowed: an object with the fields of pairs", "row": [1]}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pairs.bad.jsonl", "pairs.jsonl"]

    elsewhere = tmp_path / "other.jsonl"
    assert read_pairs(path, skip_bad_rows=True, bad_rows_path=elsewhere).bad_rows_path == elsewhere
    assert elsewhere.read_text() == pairs.bad_rows_path.read_text()


def test_bad_rows_of_a_dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = datasets.Dataset.from_list([CANONICAL[0], {**CANONICAL[1], "prompt": " "}])
    pairs = read_pairs(dataset, skip_bad_rows=True)
    assert pairs.skipped == 1
    assert json.loads((tmp_path / "dataset.bad.jsonl").read_text())["line"] == 2


def test_refusals(tmp_path):
    path, _ = bad_file(tmp_path)
    with pytest.raises(InputError, match="would replace the file"):
        read_pairs(path, skip_bad_rows=True, bad_rows_path=path)
    with pytest.raises(InputError, match="cannot be written"):
        read_pairs(path, skip_bad_rows=True, bad_rows_path=tmp_path / "no" / "x.jsonl")
    with pytest.raises(InputError, match="'x' is named twice"):
        read_pairs(path, objectives=["x", "x"])
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    for read in (read_records, read_pairs, read_ratings, read_prompts):
        with pytest.raises(InputError, match=r"empty.jsonl: no rows"):
            read(empty, skip_bad_rows=True)
    empty.write_text("{}\n{}\n")
    with pytest.raises(InputError, match=r"none of the 2 rows is valid; each with its reason is in .*empty.bad.jsonl"):
        read_pairs(empty, skip_bad_rows=True)
    assert len((tmp_path / "empty.bad.jsonl").read_text().splitlines()) == 2
    empty.write_text('{"prompt": "x", "text": "y"}')
    with pytest.raises(InputError, match=r"empty.jsonl:1: neither pairs .* nor ratings .*; found fields: prompt, text"):
        read_records(empty)
    (tmp_path / "x.txt").write_text("one\n")
    assert read_prompts(tmp_path / "x.txt").dataset.to_list() == [{"prompt": "one"}]
    for read in (read_records, read_pairs):
        with pytest.raises(InputError, match="holds prompts only"):
            read(tmp_path / "x.txt")


def test_unknown_objectives(tmp_path):
    path = save(PAIRS, tmp_path / "pairs.jsonl", "labels")
    with pytest.raises(
        InputError, match=r"pairs.jsonl:1: field 'labels.brief': unknown objective 'brief': did you mean 'briefs'"
    ):
        read_pairs(path, objectives=["helpful", "briefs"])


def test_what_is_ignored_is_said(tmp_path, caplog):
    write_jsonl([{**RATINGS[0], "id": 1, "system": "x"}], tmp_path / "x.jsonl")
    with caplog.at_level(logging.WARNING):
        ratings = read_ratings(tmp_path / "x.jsonl", objectives=["helpful", "brief", "safe"])
    assert ratings.ignored_columns == ("id", "system")
    assert "columns that ratings do not have are ignored: id, system" in caplog.text
    assert "objective 'safe' has no scores in any row" in caplog.text


def test_write_jsonl_leaves_all_or_nothing(tmp_path):
    path = tmp_path / "x.jsonl"
    write_jsonl([{"a": "é"}], path)
    assert path.read_text() == '{"a": "é"}\n'
    for broken, message in (({"a": math.nan}, "record 2"), ({"a": object()}, "not JSON serializable")):
        with pytest.raises(InputError, match=message):
            write_jsonl([{"a": 1}, broken], path)

    def interrupted():
        yield {"a": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_jsonl(interrupted(), path)
    assert path.read_text() == '{"a": "é"}\n'
    assert [p.name for p in tmp_path.iterdir()] == ["x.jsonl"]
    with pytest.raises(InputError, match="cannot be written"):
        write_jsonl([], tmp_path / "no" / "x.jsonl")


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
NAME = st.sampled_from(["helpful", "brief", "very safe", "été"])


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "prompt": TEXT.filter(str.strip),
                "completion": TEXT,
                "scores": st.dictionaries(
                    NAME, st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1
                ),
                "user": st.none() | TEXT.filter(str.strip),
            }
        ),
        min_size=1,
        max_size=6,
    )
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read(tmp_path, rows):
    write_jsonl(rows, tmp_path / "x.jsonl")
    ratings = read_ratings(tmp_path / "x.jsonl")
    assert len(ratings) == len(rows)
    assert ratings.objectives == tuple(dict.fromkeys(name for row in rows for name in row["scores"]))
    for got, row in zip(ratings.dataset, rows, strict=True):
        assert got == {**row, "scores": {name: row["scores"].get(name) for name in ratings.objectives}}


SHARED = Path(__file__).parents[3].parent / "shared" / "data"


@pytest.fixture
def loaders():
    if not (SHARED / "loaders.py").is_file():
        pytest.skip("the shared data folder ../shared/data is not here")
    spec = importlib.util.spec_from_file_location("shared_loaders", SHARED / "loaders.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_real_pairs(loaders, tmp_path):
    data = loaders.hh_dual()
    rows = [
        {
            "prompt": row["prompt"],
            "completion_a": row["responses"][0],
            "completion_b": row["responses"][1],
            "labels": {name: "ab"[row[name]] for name in ("helpful", "harmless")},
        }
        for row in data
    ]
    write_jsonl(rows, tmp_path / "hh.jsonl.gz")
    pairs = read_records(tmp_path / "hh.jsonl.gz")
    assert len(pairs) == 1934
    assert pairs.objectives == ("helpful", "harmless")
    np.testing.assert_array_equal(pairs.matrix()[:, 0], [1 - row["helpful"] for row in data])
    assert np.mean(pairs.matrix()[:, 0] != pairs.matrix()[:, 1]) == pytest.approx(
        0.46, abs=0.01
    )  # the published share of conflict


def test_real_ratings(loaders, tmp_path):
    data = loaders.summeval()
    write_jsonl(
        ({"prompt": row["src"], "completion": row["text"], "scores": row["scores"]} for row in data),
        tmp_path / "s.jsonl",
    )
    ratings = read_records(tmp_path / "s.jsonl")
    assert len(ratings) == 1600
    assert set(ratings.objectives) == {"coherence", "consistency", "fluency", "relevance"}
    np.testing.assert_array_equal(
        ratings.matrix(), [[row["scores"][name] for name in ratings.objectives] for row in data]
    )
    assert len(read_prompts(tmp_path / "s.jsonl")) == 1600
