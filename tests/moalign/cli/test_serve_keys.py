import pytest

from moalign.serving.access import read_policy
from moalign.serving.access.caller import Caller, Range
from moalign.serving.access.keys import hash_key


def test_prints_a_key_once_and_writes_its_hash(moalign, tmp_path):
    path = tmp_path / "policy.yaml"
    code, out, err = moalign(
        "serve", "keys", "add", "--policy", path, "--name", "shop", "--at_least", "safe=0.2,kind=0.1", "--at_most", "safe=0.9",
        "--requests-per-minute", 60, "--paths", "/v1/models,/v1/completions", "--max_tokens", 256,
    )  # fmt: skip
    assert (code, err) == (0, "")
    [key] = out.split()
    policy = read_policy(path)
    assert policy.callers == {
        hash_key(key, policy.salt): Caller(
            "shop", {"safe": Range(0.2, 0.9), "kind": Range(min=0.1)}, ("/v1/models", "/v1/completions"),
            requests_per_minute=60, max_tokens=256,
        )
    }  # fmt: skip
    assert key not in path.read_text()
    assert (
        path.stat().st_mode & 0o077 == 0o044
    )  # hashes are no secret; the file may be read by the server's own account


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ad"], "unknown action of moalign serve keys 'ad': did you mean 'add'?"),
        (["add"], "moalign serve keys add needs --policy"),
        (["add", "--policy", "p.yaml"], "needs --name"),
        (["add", "--policy", "p.yaml", "--name", "x", "--rate", "1"], "unknown option '--rate'"),
        (["add", "--policy", "p.yaml", "--name", "a b"], "name must be up to 64 letters"),
        (["add", "--policy", "p.yaml", "--name", "x", "--concurrency", "0"], "concurrency must be a whole number of at least 1"),
    ],
)  # fmt: skip
def test_refusals(refused, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused("serve", "keys", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_help(moalign):
    code, out, _ = moalign("serve", "keys", "--help")
    assert code == 0
    assert "moalign serve keys add --policy FILE --name NAME" in out
    assert "--at_least" in moalign("serve", "keys", "add", "--help")[1]
    assert "serve keys add" in moalign("serve", "--help")[1]
    assert moalign("serve", "keys")[0] == 2
