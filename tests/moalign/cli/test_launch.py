import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file

import moalign.cli.launch as module
from frontier.errors import InputError
from moalign.bundle import read_manifest
from moalign.cli.launch import READY, LaunchOptions, find_config, launch
from moalign.training.runs.checkpoints import latest_checkpoint
from moalign.training.steering_config import SteeringConfig

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "accelerate_configs"
QUICK = {
    "max_steps": 2,
    "per_device_train_batch_size": 4,
    "num_generations": 2,
    "max_completion_length": 5,
    "normalizer_samples": 16,
    "lora_r": 2,
    "logging_steps": 1,
    "report_to": "none",
}
LIMIT = 900  # seconds that no machine needs


@pytest.fixture
def outside(monkeypatch):
    """No launcher started this process."""
    monkeypatch.delenv("LOCAL_RANK", raising=False)


@pytest.fixture
def started(monkeypatch, outside):
    """What accelerate's launcher was called with, instead of starting anything."""
    import accelerate.commands.launch

    calls = []

    def record(args):
        calls.append(
            (vars(args), {k: v for k, v in os.environ.items() if k.startswith(("ACCELERATE_", "TORCH_ELASTIC"))})
        )

    monkeypatch.setattr(accelerate.commands.launch, "launch_command", record)
    return calls


@pytest.fixture
def four_gpus(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 4)


# ---- the ready configurations


@pytest.mark.parametrize("name", READY)
def test_ready_configurations_are_accelerate_s(name, monkeypatch):
    path = find_config(name)
    config = load_config_from_file(str(path))  # refuses fields that it does not know
    kinds = {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "zero2": "DEEPSPEED", "zero3": "DEEPSPEED"}
    assert config.distributed_type == kinds[name]
    assert path.read_text() == (EXAMPLES / f"{name}.yaml").read_text()  # the examples are the same files
    text = path.read_text()
    assert text.startswith("# moalign train clp --config x.yaml --accelerate_config " + name)


def test_sharding_leaves_the_base_whole_until_references_are_scored():
    assert yaml.safe_load(find_config("fsdp2").read_text())["fsdp_config"]["fsdp_cpu_ram_efficient_loading"] is False
    assert yaml.safe_load(find_config("zero3").read_text())["deepspeed_config"]["zero3_init_flag"] is False


def test_every_example_has_its_configuration():
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == set(READY)


def test_a_file_wins_over_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("ddp").write_text("distributed_type: MULTI_GPU\n")
    assert find_config("ddp") == Path("ddp")


# ---- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accelerate_config": "fsdp"}, "unknown accelerate_config 'fsdp': did you mean 'fsdp2'"),
        ({"accelerate_config": "none/such.yaml"}, "no file none/such.yaml; ready configurations: ddp, fsdp2"),
        ({"num_processes": 0}, "must be a positive multiple of num_machines"),
        ({"num_processes": 3, "num_machines": 2, "main_process_ip": "a", "main_process_port": 1}, "multiple.*found 3"),
        ({"num_processes": 2, "num_machines": 2}, "several machines need main_process_ip and main_process_port"),
        ({"num_processes": 2, "machine_rank": 1}, "machine_rank must be from 0 to num_machines - 1, found 1 of 1"),
        ({"accelerate_config": "ddp"}, "num_processes is needed: there are no GPUs to count"),
        ({"accelerate_config": "fsdp2", "num_processes": 2}, "fsdp2 shards over GPUs.*use ddp"),
    ],
)
def test_refuses_before_anything_starts(options, message, started, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    with pytest.raises(InputError, match=message):
        launch(["train", "clp"], LaunchOptions(**options))
    assert not started


@pytest.mark.parametrize("name", ["zero2", "zero3"])
def test_deepspeed_that_is_not_installed_is_named(name, started, four_gpus, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=f"{name} needs DeepSpeed, which is not installed: pip install deepspeed"):
        launch(["train", "clp"], LaunchOptions(accelerate_config=name))
    assert not started


def test_a_file_that_is_no_configuration(started, tmp_path):
    path = tmp_path / "x.yaml"
    for text, message in (("- 1\n", "holds no settings of accelerate"), ("a: [", "is no YAML")):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            launch(["train", "clp"], LaunchOptions(accelerate_config=str(path), num_processes=2))


@pytest.mark.parametrize("kind", ["NO", "'NO'", "MULTI_CPU"])
def test_a_file_for_one_process_is_refused(kind, started, tmp_path):
    """accelerate would start it plainly, and it would start the next one, without end."""
    path = tmp_path / "x.yaml"
    path.write_text(f"distributed_type: {kind}\nnum_processes: 1\n")
    with pytest.raises(InputError, match=r"x.yaml is for one process, or for MPI \(distributed_type (NO|MULTI_CPU)\)"):
        launch(["train", "clp"], LaunchOptions(accelerate_config=str(path)), use_cpu=True)
    assert not started


# ---- what accelerate is told


def test_processes_on_a_cpu(started, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert launch(["train", "clp", "--beta", "0.1"], LaunchOptions(num_processes=2)) == 0
    args, environment = started[0]
    assert (args["num_processes"], args["main_process_port"]) == (2, 0)
    assert args["config_file"].endswith("ddp.yaml")  # not what the user's own default file may say
    assert args["num_cpu_threads_per_process"] == 4
    assert (args["module"], args["training_script"]) == (True, "moalign")
    assert args["training_script_args"] == ["train", "clp", "--beta", "0.1"]
    assert environment["ACCELERATE_USE_CPU"] == "true"
    assert int(environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]) > 60  # time to save after SIGTERM
    assert "ACCELERATE_USE_CPU" not in os.environ


def test_one_process_per_gpu_of_all_machines(started, four_gpus):
    options = LaunchOptions(
        accelerate_config="fsdp2",
        num_machines=2,
        machine_rank=1,
        main_process_ip="10.0.0.1",
        main_process_port=29501,
        mixed_precision="bf16",
    )
    launch(["train", "clp"], options)
    args, environment = started[0]
    assert (args["num_processes"], args["num_machines"], args["machine_rank"]) == (8, 2, 1)
    assert (args["main_process_ip"], args["main_process_port"], args["mixed_precision"]) == ("10.0.0.1", 29501, "bf16")
    assert args["config_file"].endswith("fsdp2.yaml")
    assert "ACCELERATE_USE_CPU" not in environment


def test_the_file_s_own_numbers_hold_where_nothing_else_is_said(started, four_gpus, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("distributed_type: MULTI_GPU\nnum_processes: 3\nmain_process_port: 1234\nmixed_precision: bf16\n")
    launch(["train", "clp"], LaunchOptions(accelerate_config=str(path)))
    args, _ = started[0]
    assert (args["num_processes"], args["mixed_precision"], args["main_process_port"]) == (3, "bf16", 1234)


def test_the_file_s_machines_take_part(started, four_gpus, tmp_path):
    path = tmp_path / "own.yaml"
    machines = "num_machines: 2\nmachine_rank: 1\nmain_process_ip: 10.0.0.1\nmain_process_port: 1234\n"
    path.write_text(f"distributed_type: MULTI_GPU\nnum_processes: 8\n{machines}")
    launch(["train", "clp"], LaunchOptions(accelerate_config=str(path), machine_rank=0))
    launch(["train", "clp"], LaunchOptions(accelerate_config=str(path), num_processes=4))
    found = [(args["num_processes"], args["num_machines"], args["machine_rank"]) for args, _ in started]
    assert found == [(8, 2, 1), (4, 2, 1)]
    assert started[0][0]["main_process_ip"] == "10.0.0.1"


def test_a_port_that_the_file_leaves_open_is_a_free_one(started, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("distributed_type: MULTI_GPU\nnum_processes: 2\nmain_process_port: null\n")
    launch(["train", "clp"], LaunchOptions(accelerate_config=str(path)), use_cpu=True)
    assert started[0][0]["main_process_port"] == 0


def test_a_hang_up_that_nohup_ignores_is_not_passed_on(started):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        launch(["train", "clp"], LaunchOptions(num_processes=2), use_cpu=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    launch(["train", "clp"], LaunchOptions(num_processes=2), use_cpu=True)
    heard = [args["signals_to_handle"].split(",") for args, _ in started]
    assert heard[0] == [name for name in heard[1] if name != "SIGHUP"]
    assert {"SIGTERM", "SIGHUP"} <= set(heard[1])


def test_torch_s_account_of_a_failure_is_left_out(started, outside, monkeypatch, caplog):
    import logging

    import accelerate.commands.launch

    def fail(args):
        logger = logging.getLogger("torch.distributed.elastic.multiprocessing.api")
        logger.setLevel(logging.WARNING)  # as torch does
        logger.error("failed (exitcode: 1)")

    monkeypatch.setattr(accelerate.commands.launch, "launch_command", fail)
    launch(["train", "clp"], LaunchOptions(num_processes=2), use_cpu=True)
    assert "failed" not in caplog.text
    assert logging.getLogger("torch.distributed.elastic").propagate


def test_asked_only_outside_of_a_launcher(outside, monkeypatch):
    assert not LaunchOptions().asked()
    assert not LaunchOptions(mixed_precision="bf16").asked()
    assert LaunchOptions(num_processes=1).asked()
    assert LaunchOptions(accelerate_config="ddp").asked()
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert not LaunchOptions(accelerate_config="ddp", num_processes=2).asked()


def test_mixed_precision_is_the_trainer_s_setting():
    assert LaunchOptions().precision() == {}
    assert LaunchOptions(mixed_precision="no").precision() == {"bf16": False, "fp16": False}
    assert LaunchOptions(mixed_precision="bf16").precision() == {"bf16": True, "fp16": False}
    assert "mixed_precision" not in {f.name for f in SteeringConfig.__dataclass_fields__.values()}


@pytest.mark.parametrize(("exitcode", "expected"), [(2, 2), (143, 143), (-9, 137)])
def test_exit_codes_are_those_of_the_process_that_failed(exitcode, expected, outside, monkeypatch):
    import accelerate.commands.launch
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    failure = ProcessFailure(local_rank=1, pid=1, exitcode=exitcode, error_file="<none>")

    def fail(args):
        raise ChildFailedError("moalign", {1: failure})

    monkeypatch.setattr(accelerate.commands.launch, "launch_command", fail)
    assert launch(["train", "clp"], LaunchOptions(num_processes=2), use_cpu=True) == expected


# ---- the command line


def test_the_command_line_names_what_is_wrong(refused, outside):
    call = ["train", "clp", "--model", "m", "--reward", "r", "--dataset", "d", "--output_dir", "/tmp/none"]
    assert "did you mean '--num_processes'" in refused(*call, "--num_proceses", 2)
    assert "one of no, fp16, bf16" in refused(*call, "--mixed_precision", "bf61")
    assert "did you mean 'fsdp2'" in refused(*call, "--accelerate_config", "fsdp")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["moalign", "accelerate"])
def test_two_processes_leave_one_bundle(how, tiny_base, reward, prompts_file, tmp_path):
    """Started by itself, by flat keys of its file, and by `accelerate launch -m moalign`."""
    known = {"model": str(tiny_base), "reward": reward, "dataset": str(prompts_file), "use_cpu": True, **QUICK}
    if how == "moalign":
        known |= {"num_processes": 2, "accelerate_config": "ddp"}
        command = [sys.executable, "-m", "moalign"]
    else:
        launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--num_machines=1"]
        more = ["--main_process_port=0", "--mixed_precision=no", "--dynamo_backend=no", "-m", "moalign"]
        command = [sys.executable, *launcher, *more]
    config = tmp_path / "quick.yaml"
    config.write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in known.items()))
    out = tmp_path / "run"
    env = {k: v for k, v in os.environ.items() if k != "LOCAL_RANK"} | {"OMP_NUM_THREADS": "1"}
    call = [*command, "train", "clp", "--config", str(config), "--output_dir", str(out)]
    done = subprocess.run(call, capture_output=True, text=True, env=env, timeout=LIMIT)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("The bundle is in") == 1  # one process speaks
    assert read_manifest(out).objectives == ("helpful", "brief", "warm")
    settings = json.loads((out / "config.json").read_text())
    assert settings["per_device_train_batch_size"] == 4
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "reward" in line][:2] == [1, 2]
    # A second time the folder is in use: every process refuses, the code is theirs, the message stands there.
    again = subprocess.run(call, capture_output=True, text=True, env=env, timeout=LIMIT)
    assert again.returncode != 0
    assert "already holds a result" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "number", "code"), [(2, signal.SIGTERM, 143), (1, signal.SIGINT, 130)])
def test_a_signal_to_the_launcher_lets_the_processes_save(
    processes, number, code, tiny_base, reward, prompts_file, tmp_path
):
    """Under nohup, so that a hang-up does nothing."""
    out = tmp_path / "run"
    known = {"model": tiny_base, "reward": reward, "dataset": prompts_file, "use_cpu": True, **QUICK}
    known |= {"output_dir": out, "num_processes": processes, "max_steps": 100_000, "save_steps": 100_000}
    call = [sys.executable, "-m", "moalign", "train", "clp"]
    call += [part for name, value in known.items() for part in (f"--{name}", str(value))]
    env = {k: v for k, v in os.environ.items() if k != "LOCAL_RANK"} | {"OMP_NUM_THREADS": "1"}

    def dispositions():  # those of a terminal and nohup, whatever the tests were started from
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    errors = tmp_path / "errors"
    with errors.open("w") as file:
        process = subprocess.Popen(call, stdout=file, stderr=file, env=env, preexec_fn=dispositions)
    try:
        end = time.monotonic() + LIMIT
        while not (out / "metrics.jsonl").is_file() or not (out / "metrics.jsonl").read_text():
            assert process.poll() is None, errors.read_text()[-3000:]
            assert time.monotonic() < end
            time.sleep(0.2)
        process.send_signal(signal.SIGHUP)
        process.send_signal(number)
        assert process.wait(LIMIT) == code, errors.read_text()[-3000:]
    finally:
        process.kill()
    saved = latest_checkpoint(out, required=True)
    assert f"saved in {saved}" in errors.read_text()
    assert [path.name for path in out.iterdir() if path.name.startswith(".")] == []
    (run,) = json.loads((out / "run.json").read_text())["runs"]
    assert run["outcome"] == ("terminated" if code == 143 else "interrupted")


def test_a_process_leaves_with_its_code_after_trackers_and_output(tmp_path):
    """What Python does at its end and a run needs: functions registered for it, and the rest of the output."""
    script = (
        "import atexit, sys, threading, time\n"
        "from moalign.cli.launch import leave\n"
        f"atexit.register(lambda: open({str(tmp_path / 'closed')!r}, 'w').close())\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "print('done')\n"
        "leave(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stdout) == (7, "done\n"), done.stderr
    assert (tmp_path / "closed").exists()
