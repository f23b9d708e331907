import json
import signal
from pathlib import Path

import pytest

from moalign.cli.verbs import sweep
from moalign.sweep import run
from moalign.sweep.folder import JobFolder
from moalign.sweep.jobs import Job, expand
from moalign.sweep.results import SweepResult
from moalign.sweep.runner import Interrupted, Outcome

EXAMPLE = Path(__file__).resolve().parents[4] / "examples" / "sweep.yaml"


@pytest.fixture
def asked(monkeypatch):
    """The configurations that sweeps were started with; nothing runs."""
    found = []

    def pretend(config, watch=None):
        found.append(config)
        watch([])
        return SweepResult([])

    monkeypatch.setattr(run, "run_sweep", pretend)
    return found


@pytest.fixture
def config_file(tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text("methods: [modpo, clp]\nmodel: m\nreward: r\ndataset: d\nmax_steps: 5\nlearning_rate: 1e-3\n")
    return path


def test_settings_of_the_methods_stand_beside_those_of_the_sweep(moalign, asked, config_file):
    call = ["sweep", "--config", config_file, "--output_dir", "x", "--max_steps", 7, "--beta=0.5", "--seeds", "0,1"]
    code, _, err = moalign(*call, "--preferences", "a=0.5,b=0.5", "--preferences", "sampled")
    assert code == 0, err
    (config,) = asked
    assert config.train == {"max_steps": 7, "learning_rate": 0.001, "beta": 0.5}
    assert config.methods == ["modpo", "clp"]
    assert config.seeds == [0, 1]
    assert config.preferences == ["a=0.5,b=0.5", "sampled"]
    assert len(expand(config)) == 2 * 2 * 2


def test_methods_of_the_command_line_win(moalign, asked, config_file):
    assert (
        moalign("sweep", "--config", config_file, "--output_dir", "x", "--methods=clp", "--num_generations", 2)[0] == 0
    )
    assert asked[0].methods == ["clp"]
    assert sweep.named_methods(["--methods", "clp,dpa"]) == ["clp", "dpa"]
    assert sweep.named_methods([]) == []


def test_refusals_name_file_line_and_field(refused, config_file, tmp_path):
    config_file.write_text(config_file.read_text() + "max_stepz: 3\n")
    assert f"{config_file}:7: unknown field 'max_stepz': did you mean 'max_steps'" in refused(
        "sweep", "--config", config_file, "--output_dir", tmp_path / "x"
    )
    assert "unknown method 'cpl': did you mean 'clp'" in refused("sweep", "--methods", "cpl", "--output_dir", "x")
    assert "needs methods to train with" in refused("sweep", "--output_dir", tmp_path / "x")
    assert "moalign sweep needs --output_dir" in refused("sweep")
    assert not (tmp_path / "x").exists()


def test_exit_codes(moalign, monkeypatch, tmp_path):
    failed = Outcome(Job("clp", "clp", {}, {}), JobFolder(tmp_path / "clp"), "failed", [2], "refused: no reward")
    monkeypatch.setattr(run, "run_sweep", lambda config, watch=None: SweepResult([failed]))
    code, out, _ = moalign("sweep", "--methods", "clp", "--output_dir", tmp_path)
    assert code == 1
    assert "refused: no reward" in out
    assert f"1 of 1 jobs failed for good; what they said: {tmp_path / 'clp' / 'log.txt'}" in out

    def interrupted(config, watch=None):
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(run, "run_sweep", interrupted)
    code, out, _ = moalign("sweep", "--methods", "clp", "--output_dir", tmp_path)
    assert code == 143
    assert "interrupted by SIGTERM; the same command goes on" in out


def test_a_file_that_is_missing_is_told_once_before_any_job(refused, moalign, asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call = ["sweep", "--config", EXAMPLE]
    assert "dataset: no such file: 'pairs.jsonl'" in refused(*call)
    (tmp_path / "pairs.jsonl").touch()
    assert "dataset: no such file: 'prompts.jsonl'" in refused(*call)
    assert asked == []
    assert not (tmp_path / "runs").exists()
    # Other machines have other files, and what is done needs its data no more.
    assert moalign(*call, "--engine", "ray")[0] == 0
    (tmp_path / "runs" / "sweep").mkdir(parents=True)
    assert moalign(*call)[0] == 0


def test_the_example(moalign, asked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("pairs.jsonl", "prompts.jsonl"):
        (tmp_path / name).touch()
    assert EXAMPLE.read_text().startswith("# moalign sweep --config examples/sweep.yaml\n")
    code, _, err = moalign("sweep", "--config", EXAMPLE)
    assert code == 0, err
    jobs = expand(asked[0], lambda: ("helpful", "brief"))
    assert len({job.name for job in jobs}) == len(jobs) > 4
    assert asked[0].evaluation_config() is not None
    assert json.dumps([job.identity() for job in jobs])


def test_help_shows_the_sweeps_own_options_at_once(moalign):
    code, out, _ = moalign("sweep", "--help")
    assert code == 0
    assert "--preference_lattice" in out
    assert "--max_steps" not in out.replace("--max_steps 50", "")
    for everything in ("--help-all", "--help_all"):
        code, out, _ = moalign("sweep", "--methods", "clp", everything)
        assert code == 0
        assert "--kl_mixing" in out
