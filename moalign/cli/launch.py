"""Start a training in several processes: the options of `accelerate launch`, given to `moalign train` itself."""

import atexit
import contextlib
import importlib.resources
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import yaml

from frontier.errors import InputError, unknown_name
from moalign.cli.command import about

READY = ("ddp", "fsdp2", "zero2", "zero3")
PRECISIONS = ("no", "fp16", "bf16")
# Seconds in which the processes may save after SIGTERM, before they are killed; torch would leave them 30.
SHUTDOWN = "300"
# What the launcher passes on to the processes; not those that it was started to ignore (nohup: a hang-up).
SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")


@dataclass
class LaunchOptions:
    """Options of `accelerate launch` that `moalign train` passes on; without any of the first two it trains in this process."""

    accelerate_config: str | None = field(
        default=None,
        metadata=about(
            f"Train in several processes: {', '.join(READY)}, or a file that `accelerate config` wrote (as TRL's option of this name)."
        ),
    )
    num_processes: int | None = field(
        default=None, metadata=about("How many processes, of all machines together; by default one per GPU.")
    )
    num_machines: int = field(default=1, metadata=about("How many machines take part; start the command on each."))
    machine_rank: int = field(default=0, metadata=about("The number of this machine, from 0."))
    main_process_ip: str | None = field(default=None, metadata=about("Address of machine 0."))
    main_process_port: int | None = field(
        default=None, metadata=about("Port of machine 0; a free one by default where there is only one machine.")
    )
    mixed_precision: str | None = field(
        default=None,
        metadata=about("no, fp16 or bf16; by default what bf16 and fp16 say.") | {"choices": PRECISIONS},
    )

    def asked(self) -> bool:
        """Whether several processes are wanted, and this one is none of them yet."""
        wanted = self.accelerate_config is not None or self.num_processes is not None or self.num_machines > 1
        return wanted and not is_launched()

    def precision(self) -> dict[str, bool]:
        """The trainer's settings that `mixed_precision` stands for; none where it is not given."""
        found = self.mixed_precision
        return {} if found is None else {"bf16": found == "bf16", "fp16": found == "fp16"}


def is_launched() -> bool:
    """Whether a launcher (this one, accelerate's, torchrun) started this process."""
    return "LOCAL_RANK" in os.environ


def leave(code: int) -> NoReturn:
    """End this process, one of several whose common work is done, with that exit code.

    Python's own way out ends now and then in "terminate called without an active exception" (in one of twenty runs on a loaded machine, with torch 2.13): threads
    of the process group still run while the interpreter is taken apart. The launcher would take a run that is saved and whole for one that failed.
    """
    atexit._run_exitfuncs()  # trackers of experiments close their runs there
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def find_config(name: str) -> Path:
    """The file of a ready configuration, or the file that is named.

    Raises:
        InputError: neither; with the nearest name.
    """
    path = Path(name)
    if path.is_file():
        return path
    if name in READY:
        return Path(str(importlib.resources.files("moalign.cli") / "accelerate_configs" / f"{name}.yaml"))
    if path.suffix in (".yaml", ".yml", ".json") or len(path.parts) > 1:
        raise InputError(f"accelerate_config: there is no file {name}; ready configurations: {', '.join(READY)}")
    raise unknown_name("accelerate_config", name, READY)


def launch(arguments: Sequence[str], options: LaunchOptions, use_cpu: bool = False) -> int:
    """Start `moalign ARGUMENTS` in several processes by accelerate's launcher, and wait for them.

    Args:
        arguments (`Sequence[str]`): what follows `moalign`, the launch options among them: the processes read them again and see that they are launched.
        options (`LaunchOptions`): the same, read.
        use_cpu (`bool`): train on CPUs, whatever else there is.

    Returns:
        `int`: 0, or the exit code of the process that failed first; 128 plus the signal's number where one ended them.

    Raises:
        InputError: options that do not fit together or this machine, an unknown configuration, DeepSpeed is not installed.
    """
    path = find_config(options.accelerate_config or "ddp")
    config = _read(path)
    options = _with_file(options, config)
    _check(options, config, use_cpu)
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    parsed = launch_command_parser().parse_args([*_flags(options, path, use_cpu), "--module", "moalign", *arguments])
    heard = [name for name in SIGNALS if signal.getsignal(signal.Signals[name]) != signal.SIG_IGN]
    parsed.signals_to_handle = ",".join(heard)  # torch's option, which accelerate hands on
    try:
        with _environment(_on_cpu(use_cpu)), _quiet_about_failures():
            launch_command(parsed)
    except ChildFailedError as error:
        code = int(error.get_first_failure()[1].exitcode)
        return code if code >= 0 else 128 - code
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"accelerate_config: {path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise InputError(f"accelerate_config: {path} holds no settings of accelerate (`accelerate config` writes them)")
    return found


def _with_file(options: LaunchOptions, config: dict[str, Any]) -> LaunchOptions:
    """The options, those that were not given as the file says."""
    names = [name for name, usual in vars(LaunchOptions()).items() if getattr(options, name) == usual]
    return replace(options, **{name: config[name] for name in names if config.get(name) is not None})


def _check(options: LaunchOptions, config: dict[str, Any], use_cpu: bool) -> None:
    machines = options.num_machines
    if machines < 1 or not 0 <= options.machine_rank < machines:
        raise InputError(
            f"machine_rank must be from 0 to num_machines - 1, found {options.machine_rank} of {machines} machines"
        )
    if machines > 1 and (options.main_process_ip is None or options.main_process_port is None):
        raise InputError("several machines need main_process_ip and main_process_port, the address of machine 0")
    wanted = options.num_processes
    if wanted is not None and (wanted < 1 or wanted % machines):
        raise InputError(
            f"num_processes counts those of all machines: it must be a positive multiple of num_machines ({machines}), found {wanted}"
        )
    kind = config.get("distributed_type")
    name = options.accelerate_config
    if kind in (None, False, "NO", "MULTI_CPU"):  # YAML reads a bare NO as false
        raise InputError(
            f"accelerate_config {name} is for one process, or for MPI (distributed_type {kind or 'NO'}): leave it out, or set MULTI_GPU, which also starts "
            "processes on CPUs"
        )
    if kind == "DEEPSPEED" and importlib.util.find_spec("deepspeed") is None:
        raise InputError(
            f"accelerate_config {name} needs DeepSpeed, which is not installed: pip install deepspeed. Without it, fsdp2 shards as ZeRO-3 does"
        )
    if kind in ("FSDP", "DEEPSPEED") and _on_cpu(use_cpu):
        raise InputError(
            f"accelerate_config {name} shards over GPUs, and accelerate would quietly leave it out on a CPU: use ddp"
        )
    if wanted is None and _on_cpu(use_cpu):
        raise InputError("num_processes is needed: there are no GPUs to count")


def _on_cpu(use_cpu: bool) -> bool:
    import torch

    return use_cpu or not torch.accelerator.is_available()


def _flags(options: LaunchOptions, path: Path, use_cpu: bool) -> list[str]:
    """What `accelerate launch` is told; all that it would otherwise guess and warn about."""
    import torch

    cpu = _on_cpu(use_cpu)
    count = options.num_processes
    if count is None:
        count = torch.accelerator.device_count() * options.num_machines
    found: dict[str, Any] = {
        "config_file": path,
        "num_processes": count,
        "num_machines": options.num_machines,
        "machine_rank": options.machine_rank,
        "main_process_ip": options.main_process_ip,
        "main_process_port": options.main_process_port,
        "mixed_precision": options.mixed_precision or "no",
        "dynamo_backend": "no",
    }
    if options.num_machines == 1 and options.main_process_port is None:
        found["main_process_port"] = 0  # a free one
    if cpu and "OMP_NUM_THREADS" not in os.environ:
        here = max(1, count // options.num_machines)
        found["num_cpu_threads_per_process"] = max(1, (os.cpu_count() or 1) // here)
    return [f"--{name}={value}" for name, value in found.items() if value is not None]


@contextlib.contextmanager
def _environment(cpu: bool) -> Iterator[None]:
    """What the processes inherit."""
    wanted = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": SHUTDOWN, **({"ACCELERATE_USE_CPU": "true"} if cpu else {})}
    new = [name for name in wanted if name not in os.environ]
    for name in new:
        os.environ[name] = wanted[name]
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]


@contextlib.contextmanager
def _quiet_about_failures() -> Iterator[None]:
    """The process that failed has said why; torch's account of it would bury that."""
    logger, nowhere = logging.getLogger("torch.distributed.elastic"), logging.NullHandler()
    before = logger.propagate
    logger.addHandler(nowhere)  # its children have levels of their own
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(nowhere)
        logger.propagate = before
