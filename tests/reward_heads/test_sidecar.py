import json
from dataclasses import replace

import pytest

from frontier.errors import InputError
from reward_heads.head import Head
from reward_heads.joining import Joining
from reward_heads.normalizer import Normalizer
from reward_heads.sidecar import FILE_NAME, Sidecar

SIDECAR = Sidecar(
    objectives=("a", "b"),
    joining=Joining("roles", append_eos=True),
    truncation_side="left",
    max_length=64,
    training="pairs",
    offset=(0.1, -2.0),
    units=Normalizer(("a", "b"), (0.0, 1.0), (1.0, 2.0), 5, "training ratings"),
    pooling="mean",
    heads=(Head("davidson", 0.3, "ordinal", (1, 2.5), (0.1,)), Head(None, None, "binary")),
)


def test_round_trip(tmp_path):
    SIDECAR.write(tmp_path)
    assert Sidecar.read(tmp_path) == SIDECAR
    assert [file.name for file in tmp_path.iterdir()] == [FILE_NAME]
    assert json.loads((tmp_path / FILE_NAME).read_text())["schema_version"] == 2


def test_reads_a_file_of_schema_1(tmp_path):
    SIDECAR.write(tmp_path)
    path = tmp_path / FILE_NAME
    content = json.loads(path.read_text()) | {"schema_version": 1}
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="unknown field 'pooling'"):
        Sidecar.read(tmp_path)
    del content["pooling"], content["heads"]
    path.write_text(json.dumps(content))
    assert Sidecar.read(tmp_path) == replace(SIDECAR, pooling="model", heads=())


def test_absent_is_none(tmp_path):
    assert Sidecar.read(tmp_path) is None


def test_a_value_that_json_can_not_hold_leaves_the_old_file(tmp_path):
    SIDECAR.write(tmp_path)
    broken = Sidecar(("a",), SIDECAR.joining, "left", 64, None, (float("nan"),), None)
    with pytest.raises(ValueError, match="not JSON compliant"):
        broken.write(tmp_path)
    assert Sidecar.read(tmp_path) == SIDECAR
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 3}, "field 'schema_version' must be 1 or 2, found 3"),
        ({"schema_version": True}, "field 'schema_version' must be 1 or 2, found True"),
        ({"pooling": "men"}, "unknown pooling 'men': did you mean 'mean'"),
        ({"heads": [{}]}, "field 'heads' must have 2 heads or none, found 1"),
        ({"heads": [Head().to_json(), {"pears": None}]}, "unknown field of a head 'pears': did you mean 'pairs'"),
        ({"heads": [Head().to_json(), Head().to_json() | {"pairs": "davidson"}]}, "must be at least 0, found None"),
        ({"objectivs": []}, "unknown field 'objectivs': did you mean 'objectives'"),
        ({"training": "pair"}, "unknown training 'pair': did you mean 'pairs'"),
        ({"truncation_side": "lft"}, "did you mean 'left'"),
        ({"offset": [1.0]}, "field 'offset' must have 2 numbers, found 1"),
        ({"join": {"conversational": "roles"}}, "field 'append_eos' is missing"),
        ({"offset": ["x", "y"]}, "wrong type"),
        ({"units": {"objectives": ["a"]}}, "field 'location' is missing"),
    ],
)
def test_refuses_a_wrong_file_and_names_it(tmp_path, change, message):
    SIDECAR.write(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message) as caught:
        Sidecar.read(tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_refuses_what_is_not_an_object(tmp_path, text):
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(InputError, match=FILE_NAME):
        Sidecar.read(tmp_path)
