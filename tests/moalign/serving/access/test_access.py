import os

import pytest

from frontier.errors import InputError
from moalign.serving.access import ANYONE, Access, add_key


@pytest.fixture
def path(tmp_path):
    return tmp_path / "policy.yaml"


def touch(path, seconds):
    """Whatever the clock of the file system, the file is newer."""
    os.utime(path, ns=(seconds * 10**9, seconds * 10**9))


def test_without_a_file_everybody_may_ask():
    access = Access()
    assert access.open
    assert access.caller(None) is ANYONE
    assert access.caller(b"whatever") is ANYONE


def test_only_the_right_key_is_known(path):
    keys = {name: add_key(path, name) for name in ("shop", "desk")}
    access = Access(path)
    assert not access.open
    for name, key in keys.items():
        assert access.caller(key.encode()).name == name
        for wrong in (key[:-1], key + "x", key.upper(), key[3:], " " + key):
            assert access.caller(wrong.encode()) is None
    for wrong in (None, b"", b"\xff", b"x" * 10_000):
        assert access.caller(wrong) is None


def test_the_hash_itself_is_no_key(path):
    add_key(path, "shop")
    digest = path.read_text().split("hash: ")[1].split()[0].strip('"')
    assert Access(path).caller(digest.encode()) is None
    assert Access(path).caller(digest.split(":")[1].encode()) is None


def test_a_changed_file_counts_at_once(path):
    first = add_key(path, "shop")
    access = Access(path)
    second = add_key(path, "desk")
    assert access.caller(second.encode()).name == "desk"
    assert access.caller(first.encode()).name == "shop"
    text = path.read_text()
    path.write_text(text[: text.index('  - name: "desk"')])
    touch(path, 2_000_000_000)
    assert access.caller(second.encode()) is None


def test_a_file_that_breaks_changes_nothing_until_it_is_mended(path, caplog):
    key = add_key(path, "shop").encode()
    access = Access(path)
    access.check_objectives(["safe"])
    good = path.read_text()
    for number, broken in enumerate(("keys: [", good + "    preference: {other: {min: 1}}\n")):
        path.write_text(broken)
        touch(path, 2_000_000_000 + number)
        caplog.clear()
        assert access.caller(key).name == "shop"
        assert "cannot be used, the last good one still holds" in caplog.text
    path.unlink()
    assert access.caller(key).name == "shop"
    path.write_text(good + "    concurrency: 7\n")
    assert access.caller(key).concurrency == 7


def test_usage_belongs_to_the_holder_and_outlives_a_change(path):
    add_key(path, "shop")
    access = Access(path)
    caller = next(iter(access._policy.callers.values()))
    access.usage(caller).enter(caller)
    add_key(path, "desk")
    access.caller(b"x")
    assert access.usage(caller).running == 1


def test_a_file_that_is_missing_or_wrong_is_refused_at_the_start(path):
    with pytest.raises(InputError, match="cannot be read"):
        Access(path)
    path.write_text("salt: x")
    with pytest.raises(InputError, match="salt must be"):
        Access(path)


def test_ranges_are_checked_against_the_objectives(path):
    add_key(path, "shop", {"preference": {"safe": {"min": 0.2}}})
    with pytest.raises(InputError, match="unknown objective 'safe'"):
        Access(path).check_objectives(["helpful"])
