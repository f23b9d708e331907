"""Run the jobs of a sweep as tasks of a Ray cluster: one that exists, or one of this machine alone."""

import os
import signal
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from frontier.errors import InputError
from moalign.sweep.engines import end_group, same_folder, start_child
from moalign.sweep.folder import JobFolder

STARTED = ".started"
STOP = ".stop"
# What a job's process needs of the environment in which the sweep was started; the rest is the other machine's own.
_PASSED_ON = ("PYTHONPATH", "HF_", "HUGGING_FACE", "TRANSFORMERS_", "DATASETS_", "TOKENIZERS_", "OMP_", "WANDB_")
LOOK_EVERY = 0.5


class RayEngine:
    """Jobs as tasks of Ray, which finds a place for each. Job folders, models and data must be on storage that all machines share.

    Args:
        address (`str`, *optional*): of the cluster; `auto` for the one that this machine belongs to. Default: `RAY_ADDRESS`, else a cluster of this machine alone.
            A connection that this process has already is used as it is.
        cpus (`float`, *optional*, defaults to 1): set aside for each job.
        gpus (`float`, *optional*): set aside for each job. Default: 1 where the cluster has any.

    Raises:
        InputError: Ray is not installed, there is no cluster at the address, or no machine has as much as a job asks for.
    """

    def __init__(self, address: str | None = None, *, cpus: float = 1.0, gpus: float | None = None) -> None:
        ray = _ray()
        self._connected = not ray.is_initialized()
        if self._connected:
            address = address or os.environ.get("RAY_ADDRESS") or "local"
            try:
                ray.init(address=address, include_dashboard=False if address == "local" else None, log_to_driver=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise InputError(f"no Ray cluster at {address}: {error}") from error
        if gpus is None:
            gpus = 1.0 if ray.cluster_resources().get("GPU") else 0.0
        for setting, kind, wanted in (("cpus_per_job", "CPU", cpus), ("gpus_per_job", "GPU", gpus)):
            largest = max(node["Resources"].get(kind, 0.0) for node in ray.nodes() if node["Alive"])
            if wanted > largest:
                self.close()
                raise InputError(f"{setting} {wanted:g}: the largest machine of the Ray cluster has {largest:g}")
        # A process that dies is the sweep's to retry, which knows of checkpoints; Ray itself retries what takes the whole machine away.
        self._task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0, max_calls=1)(run_attempt)
        self._ray = ray

    def room(self) -> bool:
        """Always: Ray keeps what has to wait."""
        return True

    def start(self, folder: JobFolder) -> "RayTask":
        """Hand a job to Ray, which runs it when there is room."""
        folder = same_folder(folder)
        for name in (STARTED, STOP):
            (folder.path / name).unlink(missing_ok=True)
        passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
        return RayTask(self._ray, self._task.remote(str(folder.path), os.getcwd(), passed), folder)

    def close(self) -> None:
        """Leave a cluster that this engine has entered."""
        if self._connected:
            _ray().shutdown()


class RayTask:
    """A job that Ray has."""

    def __init__(self, ray: ModuleType, reference: Any, folder: JobFolder) -> None:
        self._ray: Any = ray
        self._reference, self._folder = reference, folder
        self._code: int | None = None

    def started(self) -> bool:
        """Whether a machine has begun with it."""
        return (self._folder.path / STARTED).is_file()

    def code(self) -> int | None:
        """Of the process; -9 where the machine that it ran on is gone."""
        if self._code is None:
            ready, _ = self._ray.wait([self._reference], timeout=0)
            if ready:
                self._code = self._result()
        return self._code

    def _result(self) -> int:
        try:
            return int(self._ray.get(self._reference))
        except self._ray.exceptions.TaskCancelledError:
            return -int(signal.SIGTERM)
        except self._ray.exceptions.RayError as error:
            with self._folder.log.open("a", encoding="utf-8") as log:
                log.write(f"Ray lost the job: {' '.join(str(error).split())}\n")
            return -int(signal.SIGKILL)

    def stop(self) -> None:
        """Ask its process, wherever it is, to save and end; a job that has not begun is taken back."""
        (self._folder.path / STOP).touch()
        if not self.started():
            self._ray.cancel(self._reference)

    def kill(self) -> None:
        """Kill the process that runs it; the job's own process ends when it sees that."""
        self._ray.cancel(self._reference, force=True)


def run_attempt(path: str, cwd: str, passed: dict[str, str]) -> int:
    """The task: run a job's process to its end, on whatever machine this is."""
    folder = JobFolder(Path(path))
    if (folder.path / STOP).exists():
        return -int(signal.SIGTERM)
    # Ray has set CUDA_VISIBLE_DEVICES for this task.
    process = start_child(folder, os.environ | passed, cwd if Path(cwd).is_dir() else None)
    (folder.path / STARTED).touch()
    asked = False
    try:
        while process.poll() is None:
            if not asked and (folder.path / STOP).exists():
                asked = True
                process.send_signal(signal.SIGTERM)
            time.sleep(LOOK_EVERY)
        return process.returncode
    finally:
        end_group(process)
        (folder.path / STARTED).unlink(missing_ok=True)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError("engine ray needs the package ray: pip install 'moalign[ray]'") from error
    return ray
