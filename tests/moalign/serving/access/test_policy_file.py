import json

import pytest
import yaml

from frontier.errors import InputError
from moalign.serving.access.caller import Caller, Range
from moalign.serving.access.keys import hash_key
from moalign.serving.access.policy_file import AccessPolicy, add_key, read_policy

SALT = "00" * 16
ENTRY = {"name": "shop", "hash": hash_key("mo-a", SALT)}


def write(path, **content):
    path.write_text(yaml.safe_dump({"salt": SALT, "keys": [ENTRY], **content}))
    return path


def test_reads_every_field(tmp_path):
    full = ENTRY | {
        "preference": {"safe": {"min": 0.2}, "brief": {"min": 0, "max": 0.5}},
        "paths": ["/v1/completions/", "/v1/models"], "requests_per_minute": 60, "concurrency": 4,
        "max_tokens": 256, "tokens_per_minute": 10_000, "tokens_per_day": 100_000,
    }  # fmt: skip
    policy = read_policy(write(tmp_path / "p.yaml", keys=[full]))
    expected = Caller(
        "shop", {"safe": Range(min=0.2), "brief": Range(0, 0.5)}, ("/v1/completions", "/v1/models"), 60, 4, 256, 10_000, 100_000
    )  # fmt: skip
    assert policy == AccessPolicy(SALT, {ENTRY["hash"]: expected})


def test_a_file_without_keys_lets_nobody_in(tmp_path):
    assert read_policy(write(tmp_path / "p.yaml", keys=None)).callers == {}
    assert read_policy(write(tmp_path / "p.yaml", keys=[])).callers == {}


@pytest.mark.parametrize("name", ["p.yaml", "p.json"])
def test_keys_are_added_one_by_one_and_only_their_hashes_are_kept(tmp_path, name):
    path = tmp_path / name
    limits = {"preference": {"safe": {"min": 0.2}}, "paths": ["/v1/models"], "concurrency": 2}
    first, second = add_key(path, "shop", limits), add_key(path, "desk")
    policy = read_policy(path)
    assert policy.callers[hash_key(first, policy.salt)] == Caller(
        "shop", {"safe": Range(min=0.2)}, ("/v1/models",), concurrency=2
    )
    assert policy.callers[hash_key(second, policy.salt)] == Caller("desk")
    assert len(policy.callers) == 2
    assert first not in path.read_text()
    assert first[3:] not in path.read_text()


@pytest.mark.parametrize("indent", ["", "  ", "    "])
def test_what_people_wrote_into_the_file_is_kept(tmp_path, indent):
    path = tmp_path / "p.yaml"
    text = f'# ours\nsalt: "{SALT}"\n\nkeys:\n{indent}# the shop\n{indent}- name: shop\n{indent}  hash: {ENTRY["hash"]}  # old'
    path.write_text(text)
    add_key(path, "desk", {"max_tokens": 5})
    assert path.read_text().startswith(text + "\n")
    assert [c.name for c in read_policy(path).callers.values()] == ["shop", "desk"]


def test_a_layout_without_a_place_for_an_entry(tmp_path):
    path = tmp_path / "p.yaml"
    text = f'keys: [{json.dumps(ENTRY)}]\nsalt: "{SALT}"\n'
    path.write_text(text)
    with pytest.raises(InputError, match="add this entry yourself"):
        add_key(path, "desk")
    assert path.read_text() == text


@pytest.mark.parametrize(
    ("name", "limits", "message"),
    [
        ("shop", {}, "there is a key 'shop' already"),
        ("a b", {}, "name must be up to 64 letters"),
        (
            "x",
            {"max_tokens": 0},
            "max_tokens must be a whole number of at least 1 and at most 1000000000000000, found 0",
        ),
        (
            "x",
            {"tokens_per_day": 10**400},
            "tokens_per_day must be a whole number of at least 1 and at most 1000000000000000",
        ),
        ("x", {"preference": {"safe": {"min": 2, "max": 1}}}, "safe: min 2 is above max 1"),
    ],
)
def test_a_key_that_is_refused_leaves_the_file(tmp_path, name, limits, message):
    path = write(tmp_path / "p.yaml")
    before = path.read_text()
    with pytest.raises(InputError, match=message):
        add_key(path, name, limits)
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"salt": None}, "salt must be"),
        ({"salt": "xyz"}, "salt must be"),
        ({"salt": 12345678}, "salt must be .* in quotes"),
        ({"open": True}, "unknown field 'open'"),
        ({"keys": {}}, None),
        ({"keys": {"a": 1}}, "keys must be a list"),
        ({"keys": ["mo-a"]}, "key number 1: must be a mapping"),
        ({"keys": [ENTRY | {"hash": "mo-secret"}]}, "key 'shop': hash must be"),
        ({"keys": [{"name": "shop"}]}, "hash must be"),
        ({"keys": [{"hash": ENTRY["hash"]}]}, "name must be"),
        ({"keys": [ENTRY, ENTRY]}, "twice"),
        ({"keys": [ENTRY, ENTRY | {"hash": hash_key("mo-b", SALT)}]}, "twice"),
        ({"keys": [ENTRY, ENTRY | {"name": "desk"}]}, "twice"),
        ({"keys": [ENTRY | {"concurency": 1}]}, "key 'shop': unknown field 'concurency': did you mean 'concurrency'"),
        ({"keys": [ENTRY | {"concurrency": 1.5}]}, "concurrency must be a whole number"),
        ({"keys": [ENTRY | {"concurrency": True}]}, "concurrency must be a whole number"),
        ({"keys": [ENTRY | {"preference": {"safe": 0.2}}]}, r"safe must be like \{min"),
        ({"keys": [ENTRY | {"preference": {"safe": {"minimum": 0.2}}}]}, "unknown bound 'minimum': did you mean 'min'"),
        ({"keys": [ENTRY | {"preference": {"safe": {"min": float("nan")}}}]}, "finite"),
        ({"keys": [ENTRY | {"preference": "safe"}]}, "preference must be like"),
        ({"keys": [ENTRY | {"paths": "/v1"}]}, "paths must be a list"),
        ({"keys": [ENTRY | {"paths": ["v1"]}]}, "paths must be a list"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_no_key_is_shown(tmp_path, content, message):
    path = write(tmp_path / "p.yaml", **content)
    if message is None:
        assert read_policy(path).callers == {}
        return
    with pytest.raises(InputError, match=message) as caught:
        read_policy(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "mo-secret" not in str(caught.value)


def test_a_range_for_an_objective_that_is_not_there(tmp_path):
    policy = read_policy(write(tmp_path / "p.yaml", keys=[ENTRY | {"preference": {"saef": {"min": 0.2}}}]))
    policy.check_objectives(["saef", "brief"])
    with pytest.raises(InputError, match="policy: key 'shop': unknown objective 'saef': did you mean 'safe'"):
        policy.check_objectives(["safe", "brief"])
