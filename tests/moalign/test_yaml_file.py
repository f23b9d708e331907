import pytest

from frontier.errors import InputError
from moalign.yaml_file import parse_flow, read_flat


@pytest.fixture
def read(tmp_path):
    def call(text):
        path = tmp_path / "x.yaml"
        path.write_text(text)
        return read_flat(path)

    return call


def test_values_and_lines(read):
    entries = read("# a comment\nmax_steps: 300\n\nlearning-rate: 1e-4\nobjectives: [a, b]\nweights:\n  a: 2\nseed:\n")
    assert {name: entry.value for name, entry in entries.items()} == {
        "max_steps": 300,
        "learning_rate": 1e-4,
        "objectives": ["a", "b"],
        "weights": {"a": 2},
        "seed": None,
    }
    assert [entry.line for entry in entries.values()] == [2, 4, 5, 6, 8]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("1e-4", 1e-4),
        ("5.", 5.0),
        (".5", 0.5),
        ("-3", -3),
        ("012", "012"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("'1'", "1"),
        ("~", None),
    ],
)
def test_scalars_are_read_as_people_mean_them(read, text, value):
    found = read(f"key: {text}\n")["key"].value
    assert found == value
    assert type(found) is type(value)


def test_json_is_yaml(read):
    assert read('{"max_steps": 3, "preference": null}')["max_steps"].value == 3


def test_an_empty_file_sets_nothing(read):
    assert read("# nothing\n") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1,\n", r"x\.yaml:\d+: not valid YAML"),
        ("- a\n- b\n", r"x\.yaml:1: expected lines of the form 'field: value'"),
        ("a: 1\nb: 2\na: 3\n", r"x\.yaml:3: field 'a' stands in line 1 already"),
        ("a_b: 1\na-b: 3\n", r"x\.yaml:2: field 'a-b' stands in line 1 already"),
        ("1: a\n", r"x\.yaml:1: expected the name of a field, found 1"),
        ("a: !!python/object:os.system x\n", r"x\.yaml:1: not valid YAML"),
    ],
)
def test_refuses(read, text, message):
    with pytest.raises(InputError, match=message):
        read(text)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.yaml: cannot be read: No such file"):
        read_flat(tmp_path / "nothing.yaml")


def test_flow():
    assert parse_flow("{a: 1e-3, b: [x, y]}") == {"a": 1e-3, "b": ["x", "y"]}
    assert parse_flow("{a: [") == "{a: ["
