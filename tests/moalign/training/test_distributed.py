"""Two processes on CPUs (gloo) train what one process trains: adapters, log, multipliers, normalisers, with whole copies (DDP) and with sharded weights (FSDP2)."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from frontier.errors import InputError
from moalign.policy import SteerablePolicy
from moalign.training.runs.sharded import remember_base

SCRIPT = Path(__file__).with_name("jobs.py")
SCRIPTED = (
    "direct",
    "direct_sampled",
    "direct_checkpointed",
    "online",
    "kl_mixing",
    "maxmin",
    "lagrangian",
    "rejection",
)
SHARDED = ("direct", "direct_checkpointed", "online", "rollouts", "lagrangian", "rejection")


def load_jobs():
    spec = importlib.util.spec_from_file_location("moalign_test_jobs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_processes(base, folder, jobs, count=2):
    """The jobs, one after the other, in as many processes; what goes wrong there is shown here."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*command, str(SCRIPT), str(base), str(folder), *jobs], capture_output=True, text=True, env=env, timeout=1500
    )
    assert done.returncode == 0, done.stderr[-6000:]
    return {job: [_outcome(folder, job, rank) for rank in range(count)] for job in jobs}


def _outcome(folder, job, rank):
    place = folder / job / f"process-{rank}"
    return load_file(f"{place}.safetensors"), json.loads(Path(f"{place}.json").read_text())


@pytest.fixture(scope="module")
def alone(tiny_base, tmp_path_factory):
    """What one process makes of a job, in the same batches."""
    jobs, folder, known = load_jobs(), tmp_path_factory.mktemp("alone"), {}

    def outcome(job):
        if job not in known:
            adapters, facts = jobs.outcome(jobs.train(job, tiny_base, folder / job))
            known[job] = adapters, json.loads(json.dumps(facts))
        return known[job]

    return outcome


@pytest.fixture(scope="module")
def copies(tiny_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("copies")
    return run_processes(tiny_base, folder, [*SCRIPTED, "rollouts"])


@pytest.fixture(scope="module")
def shards(tiny_base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    return run_processes(tiny_base, folder, [f"{job}:fsdp2" for job in (*SHARDED, "saved")]), folder


def assert_alike(found, expected):
    """Adapters and figures up to the last bits, the order of sums being another; generators and counters exactly."""
    (adapters, facts), (wanted, known) = found, expected
    assert adapters.keys() == wanted.keys()
    torch.testing.assert_close(adapters, wanted, rtol=0, atol=1e-6)
    assert len(facts["log"]) == len(known["log"])
    for line, other in zip(facts["log"], known["log"], strict=True):
        # How rows are put together to forwards, and so their padding, is each process's own.
        assert line.keys() == other.keys()
        assert {k: v for k, v in line.items() if k != "padding"} == pytest.approx(
            {k: v for k, v in other.items() if k != "padding"}, rel=2e-5, abs=2e-6, nan_ok=True
        )
    assert _rounded(facts["state"]) == _rounded(known["state"])


def _rounded(value):
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


@pytest.mark.slow
@pytest.mark.parametrize("job", SCRIPTED)
def test_two_processes_train_what_one_trains(job, copies, alone):
    assert_alike(copies[job][0], alone(job))


@pytest.mark.slow
@pytest.mark.parametrize("job", [*SCRIPTED, "rollouts"])
def test_processes_agree_to_the_last_bit(job, copies):
    (first, facts), (second, others) = copies[job]
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
    assert facts["state"] == others["state"]


@pytest.mark.slow
def test_jobs_do_what_they_are_to_show(alone):
    """Else the tests above would hold whatever the processes did."""
    assert alone("maxmin")[1]["state"]["scalarizer"]["weights"] != [1 / 3] * 3
    assert "lambda/brief" in str(alone("lagrangian")[1]["log"]) or alone("lagrangian")[1]["state"]["scalarizer"]
    assert alone("online")[1]["state"]["normalizer"] is not None
    assert alone("direct")[1]["state"]["margin_scale"]["value"]


@pytest.mark.slow
@pytest.mark.parametrize("job", [job for job in SHARDED if job in SCRIPTED])
def test_sharded_weights_train_the_same(job, shards, alone):
    found, _ = shards
    assert_alike(found[f"{job}:fsdp2"][0], alone(job))


@pytest.mark.slow
def test_a_sharded_run_saves_whole_adapters_and_resumes(shards, alone):
    """The bundle and the checkpoints are those of one process; a run that was resumed from the second step ends where the uninterrupted one does."""
    found, folder = shards
    whole = folder / "saved:fsdp2"
    wanted, _ = alone("direct_adam")
    for bundle in (whole, whole / "checkpoint-3"):
        policy = SteerablePolicy.from_pretrained(bundle)  # compares sha256 of the files and the base's digest
        saved = {name: tensor for name, tensor in policy.model.named_parameters() if ".lora_" in name}
        assert saved.keys() == wanted.keys()
        torch.testing.assert_close({name: p.detach() for name, p in saved.items()}, wanted, rtol=0, atol=1e-6)
    first, resumed = (load_file(whole / part / "vowels" / "adapter_model.safetensors") for part in (".", "resumed"))
    assert all(torch.equal(first[name], resumed[name]) for name in first)
    assert found["saved:fsdp2"][0][1]["sharded"] is True


def test_processes_with_different_bases_are_refused(tiny_base, plain_adapters, monkeypatch):
    """As after accelerate's way of loading, which leaves all but the first process with empty weights."""
    import moalign.training.runs.sharded as module

    policy = SteerablePolicy.from_pretrained(tiny_base, {"helpful": plain_adapters["helpful"]})
    monkeypatch.setattr(module, "PartialState", lambda: type("State", (), {"num_processes": 2}))
    monkeypatch.setattr(module, "gather_object", lambda own: [*own, "0" * 64])
    with pytest.raises(InputError, match=r"2 processes hold 2 different base models.*fsdp_cpu_ram_efficient_loading"):
        remember_base(policy)
    monkeypatch.setattr(module, "gather_object", lambda own: [*own, *own])
    remember_base(policy)
    assert policy.manifest(tiny_base).base.digest == policy.base_digest
