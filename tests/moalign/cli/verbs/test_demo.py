import pytest

from moalign.demo import pipeline


@pytest.fixture
def started(monkeypatch):
    """The configuration that the demo would have run with."""
    calls = []
    monkeypatch.setattr(pipeline, "run_demo", calls.append)
    return calls


def test_hands_its_settings_to_the_pipeline(moalign, started):
    code, _, err = moalign("demo", "--output_dir", "runs/mine", "--compare", "--seed", 7)
    assert (code, err) == (0, "")
    assert started == [pipeline.DemoConfig(output_dir="runs/mine", compare=True, seed=7)]


def test_runs_without_any_setting(moalign, started):
    assert moalign("demo")[0] == 0
    assert started == [pipeline.DemoConfig()]


def test_refuses(refused, started):
    assert "unknown option '--sed': did you mean '--seed'?" in refused("demo", "--sed", 1)
    assert "--seed: found 'x', expected an integer" in refused("demo", "--seed", "x")
    assert "unexpected argument 'fast'" in refused("demo", "fast")
    assert started == []
