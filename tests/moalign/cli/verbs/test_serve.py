import pytest

from moalign.serving import run as server


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
