from pathlib import Path

import pytest

from moalign.serving import run as server
from moalign.serving.access import add_key
from moalign.yaml_file import read_flat

EXAMPLES = Path(__file__).resolve().parents[4] / "examples"


@pytest.fixture
def started(monkeypatch):
    """What would have been served."""
    calls = []
    monkeypatch.setattr(server, "serve", lambda bundle, config: calls.append((bundle, config)))
    return calls


def test_hands_bundle_and_settings_to_the_server(moalign, bundle, started, tmp_path):
    (tmp_path / "serve.yaml").write_text("port: 9000\nmax_batch_size: 4\n")
    code, _, err = moalign("serve", bundle, "--config", tmp_path / "serve.yaml", "--port", 0, "--base", "elsewhere")
    assert (code, err) == (0, "")
    assert started == [(str(bundle), server.ServeConfig(port=0, max_batch_size=4, base="elsewhere"))]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prot", "1"], "unknown option '--prot': did you mean '--port'?"),
        (["--port", "100000"], "port: must be from 0 to 65535, found 100000"),
        (["--dtype", "int8"], "dtype: valid are auto, float32, bfloat16, float16"),
    ],
)
def test_refuses_settings_before_anything_starts(refused, bundle, started, arguments, message):
    assert message in refused("serve", bundle, *arguments)
    assert started == []


def test_needs_a_bundle(refused, started, tmp_path):
    assert "moalign serve needs BUNDLE" in refused("serve")


def test_a_folder_that_is_no_bundle(refused, tmp_path):
    assert "is no bundle: it has no steer.json" in refused("serve", tmp_path, "--port", 0)


def test_the_example_is_a_configuration(started, moalign):
    path = EXAMPLES / "serve.yaml"
    assert path.read_text().startswith("# moalign serve --config examples/serve.yaml\n")
    assert moalign("serve", "--config", path)[0] == 0
    [(bundle, config)] = started
    entries = read_flat(path)
    for name, entry in entries.items():
        assert entry.value == (bundle if name == "bundle" else getattr(config, name)), name


def test_other_addresses_need_a_policy_or_a_word(refused, bundle, started, moalign):
    assert "give a policy with keys (policy), or say that this is fine (allow_anyone)" in refused(
        "serve", bundle, "--host", "0.0.0.0"
    )
    assert started == []
    assert moalign("serve", bundle, "--host", "0.0.0.0", "--allow_anyone")[0] == 0
    assert moalign("serve", bundle, "--host", "0.0.0.0", "--policy", "p.yaml")[0] == 0
    for own in ("localhost", "::1", "127.0.0.2"):
        assert moalign("serve", bundle, "--host", own)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--log_format", "xml"], "--log_format: found 'xml', expected one of text, json"),
        (["--cors_origins", "example.org"], "cors_origins: must be like https://example.org"),
        (["--cors_origins", "https://example.org/"], "cors_origins: must be like https://example.org"),
        (["--request_timeout", "0"], "request_timeout: must be above 0"),
        (["--prefix_tokens", "-1"], "prefix_tokens: must be at least 0"),
    ],
)
def test_refuses_settings_of_operation(refused, bundle, started, arguments, message):
    assert message in refused("serve", bundle, *arguments)


def test_a_policy_file_that_is_wrong_is_refused_before_anything_starts(refused, bundle, tmp_path):
    path = tmp_path / "policy.yaml"
    assert "policy.yaml: cannot be read" in refused("serve", bundle, "--policy", path, "--port", 0)
    refused_key = add_key(path, "x", {"preference": {"nothing": {"min": 1}}})
    message = refused("serve", bundle, "--policy", path, "--port", 0)
    assert "policy: key 'x': unknown objective 'nothing'" in message
    assert refused_key not in message
