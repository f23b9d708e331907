import gzip
import json

import datasets
import pytest

from frontier.errors import InputError
from moalign.data.readers import open_source


def rows(path, **kwargs):
    return list(open_source(path, **kwargs).rows)


def write(path, text):
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def file(tmp_path):
    return lambda name, text: write(tmp_path / name, text)


def test_json_lines_keep_their_numbers_past_blank_and_broken_lines(file):
    path = file("x.jsonl", b'\xef\xbb\xbf{"a": 1}\n\n{"a": \n{"a": "\xe2\x80\xa8", "a": 2}\n{"a": "\xff"}\n{"a": 3}')
    first, broken, twice, encoding, last = rows(path)
    assert (first.where, first.row, first.error) == (f"{path}:1", {"a": 1}, None)
    assert broken.where == f"{path}:3"
    assert broken.row == '{"a":'
    assert "not valid JSON: Expecting value at column" in broken.error
    assert "key 'a' is given twice" in twice.error  # and a line separator inside a string does not break the line
    assert "not UTF-8" in encoding.error
    assert (last.where, last.row) == (f"{path}:6", {"a": 3})


def test_deeply_nested_json_is_a_bad_row(file):
    assert rows(file("x.jsonl", "[" * 100_000))[0].error is not None


def test_json_array_knows_where_items_begin(file):
    path = file("x.json", ' [\n {"a": 1},\n\n {"a":\n 2}, {"a": 3, "a": 4}\n]\n')
    got = rows(path)
    assert [r.line for r in got] == [2, 4, 5]
    assert got[1].where == f"{path}:4 (item 2)"
    assert [r.row for r in got] == [{"a": 1}, {"a": 2}, {"a": 4}]
    assert [r.error is None for r in got] == [True, True, False]
    assert rows(file("empty.json", "[]")) == []


def test_json_with_lines_inside_is_read_as_lines(file):
    assert [r.row for r in rows(file("x.json", '{"a": 1}\n{"a": 2}\n'))] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[\n{"a": 1},\n{"a": }\n]', r"x.json:3: not valid JSON: .*\(item 2\)"),
        ('[\n{"a": 1}\n{"a": 2}]', r"x.json:3: not valid JSON: ',' or '\]' expected after item 1"),
        ('[{"a": 1}', "',' or ']' expected after item 1"),
        ('[{"a": 1}] 3', "something follows"),
        ("[1, ", "not valid JSON"),
    ],
)
def test_broken_json_arrays(file, text, message):
    with pytest.raises(InputError, match=message):
        rows(file("x.json", text))


def test_csv(file):
    text = 'prompt,completion,scores.x\n"two\nlines",A,1\n\nshort,B\nQ,,\n"[{""role"": ""user"", ""content"": ""hi""}]",[1],2\n'
    path = file("x.csv", text)
    two, short, empty, talk = rows(path)
    assert (two.line, two.row) == (2, {"prompt": "two\nlines", "completion": "A", "scores.x": "1"})
    assert (short.line, short.error) == (5, "found 2 cells, allowed: 3, as in the header")
    assert empty.row == {"prompt": "Q", "completion": None, "scores.x": None}
    assert talk.row == {"prompt": [{"role": "user", "content": "hi"}], "completion": "[1]", "scores.x": "2"}
    assert open_source(path).text_numbers
    long = "x" * 300_000
    assert rows(file("long.csv", f"prompt\n{long}\n"))[0].row == {"prompt": long}


def test_csv_with_conversations_as_python_prints_them(file):
    got = rows(file("x.csv", "prompt\n\"[{'role': 'user', 'content': 'hi'}]\"\n"))
    assert "as Python prints it, allowed: JSON text" in got[0].error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,a\n1,2\n", "x.csv:1: the header names 'a' twice"),
        ("a,\n1,2\n", "x.csv:1: the header names '' .a column without name"),
        ('a,b\n1,"2\n3,4\n', "x.csv:2: not valid CSV"),
        (b"a\n\xff\n", "x.csv: not UTF-8"),
    ],
)
def test_broken_csv(file, text, message):
    with pytest.raises(InputError, match=message):
        rows(file("x.csv", text))


def test_text_lines(file):
    source = open_source(file("x.txt", "one\r\n\n two \n"))
    assert source.prompts_only
    assert [(r.line, r.row) for r in source.rows] == [(1, {"prompt": "one"}), (3, {"prompt": "two"})]


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "txt"])
def test_gzip_reads_the_same(file, ending):
    text = {"jsonl": '{"prompt": "ü"}\n', "json": '[{"prompt": "ü"}]', "csv": "prompt\nü\n", "txt": "ü\n"}[ending]
    path = file(f"x.{ending}.gz", text)
    assert [r.row for r in rows(path)] == [{"prompt": "ü"}]
    assert open_source(path).bad_rows_path == path.with_name("x.bad.jsonl")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"gz: cannot be read"):
        rows(path)


def test_parquet(tmp_path):
    data = [{"prompt": "a", "labels": {"x": "a", "y": None}}, {"prompt": "b", "labels": {"x": "0.5", "y": "b"}}]
    path = tmp_path / "x.parquet"
    datasets.Dataset.from_list(data).to_parquet(path)
    got = rows(path)
    assert [r.row for r in got] == data
    assert [r.where for r in got] == [f"{path}: row 1", f"{path}: row 2"]
    path.write_bytes(b"PAR1 and more")
    with pytest.raises(InputError, match="not a readable Parquet file"):
        rows(path)


def test_datasets_whatever_their_format():
    data = [{"prompt": "a", "scores": {"x": 1.5}}, {"prompt": "b", "scores": {"x": None}}]
    dataset = datasets.Dataset.from_list(data)
    for source in (dataset, dataset.with_format("torch"), dataset.to_iterable_dataset()):
        assert [r.row for r in rows(source)] == data
    both = datasets.DatasetDict({"train": dataset, "test": dataset.select([1])})
    assert [r.row for r in rows(both, split="test")] == data[1:]
    with pytest.raises(InputError, match="no split 'dev'; found: train, test"):
        rows(both, split="dev")


def test_hub_names_are_looked_up_only_when_there_is_no_such_path(tmp_path, monkeypatch):
    asked = []

    def load_dataset(name, split):
        asked.append((name, split))
        return datasets.Dataset.from_list([{"prompt": "from the hub"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.chdir(tmp_path)
    source = open_source("org/name", split="test")
    assert next(source.rows).where == "org/name: row 1"
    assert str(source.bad_rows_path) == "org--name.bad.jsonl"
    (tmp_path / "org").mkdir()
    (tmp_path / "org/data.jsonl").write_text('{"prompt": "from here"}')
    assert next(open_source("org/data.jsonl").rows).row == {"prompt": "from here"}
    with pytest.raises(InputError, match=r"no such file: 'org/date.jsonl'. did you mean 'org/data.jsonl'\?"):
        open_source("org/date.jsonl")
    assert asked == [("org/name", "test")]


def test_offline(monkeypatch):
    def load_dataset(name, split):
        raise ConnectionError(f"Couldn't reach '{name}' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(
        InputError, match=r"'org/name' is no file here, and .*could not be reached.*ConnectionError: Couldn't"
    ):
        open_source("org/name")


@pytest.mark.parametrize("name", ["x.jsonl", "missing", "a/b/c", "../x", "~/x.csv"])
def test_missing_files(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no such file: '"):
        open_source(name)


def test_unknown_formats(tmp_path, file):
    for name in ("x.tsv", "x", "x.parquet.gz"):
        with pytest.raises(InputError, match=r"allowed: .jsonl, .json, .csv, .parquet, .txt"):
            open_source(file(name, "a"))
    with pytest.raises(InputError, match="found a folder"):
        open_source(tmp_path)
    with pytest.raises(InputError, match="cannot read records from list"):
        open_source([json.dumps({})])
