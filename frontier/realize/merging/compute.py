"""Merge planned tensors piece by piece on a few threads, in bounded memory, with a result that does not depend on how many threads there are."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from frontier.errors import InputError
from frontier.realize.merging.checkpoint import ReadsInto
from frontier.realize.merging.methods.base import MergeMethod
from frontier.realize.merging.plan import Input, TensorPlan

# Elements of a piece. On a CPU all models' pieces together stay near the cache; a GPU wants few and large launches. Random methods draw anew for every
# piece, so that these sizes are a part of what a seed means.
CPU_PIECE = 1 << 18
GPU_PIECE = 1 << 26
# A thread takes a whole tensor, or this much of one.
SEGMENT = 1 << 23
# Bytes that all threads together hold, unless one tensor alone needs more.
BUDGET = 1 << 29
MOST_WORKERS = 4
# A thread keeps memory of this many bytes for each model's pieces from one to the next; more is for the embedding alone and given back.
KEPT = 1 << 26

# What a merge's file can say.
REMEDY = "give smaller weights or out_dtype: float32"
Write = Callable[[str, int, Tensor], None]


@dataclass(frozen=True)
class Job:
    """What a thread does at a time: the elements `start` to `stop` of a tensor, in pieces of `step`.

    Args:
        tensor (`TensorPlan`): of the result.
        start (`int`), stop (`int`): in row-major order.
        step (`int`): elements read and merged at once.
    """

    tensor: TensorPlan
    start: int
    stop: int
    step: int

    @property
    def nbytes(self) -> int:
        """About what it holds at once: every model's piece as stored, and as many copies in float32."""
        size = min(self.step, self.stop - self.start)
        return sum(size * (given.layout.dtype.itemsize + 4) for given in self.tensor.all_inputs)


def make_jobs(tensors: Iterable[TensorPlan], method: MergeMethod, device: torch.device) -> Iterator[Job]:
    """Cut the tensors where the method and the models allow it."""
    piece = CPU_PIECE if device.type == "cpu" else GPU_PIECE
    for tensor in tensors:
        size = tensor.layout.numel
        if tensor.parameters is not None and not method.elementwise:
            yield Job(tensor, 0, size, max(size, 1))
        elif all(given.source.in_pieces(given.tensor) for given in tensor.all_inputs):
            segment = max(SEGMENT, piece)
            yield from (Job(tensor, i, min(i + segment, size), piece) for i in range(0, size, segment))
        else:
            yield Job(tensor, 0, size, piece)


def default_workers() -> int:
    """A few threads, no more than this process has cores: the disk is soon the limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_WORKERS, cores))


def run_jobs(
    jobs: Iterable[Job],
    method: MergeMethod,
    write: Write,
    *,
    device: torch.device,
    workers: int,
    seed: int,
    advance: Callable[[int], object] = lambda count: None,
    remedy: str = REMEDY,
) -> None:
    """Do all jobs; after the first error, or an interruption, no thread starts another piece.

    Args:
        jobs (`Iterable[Job]`): from `make_jobs`.
        method (`MergeMethod`): the formula.
        write (`Callable`): takes a tensor's name, the place of its first element and the flat piece on the CPU; called from several threads.
        device (`torch.device`): where to compute.
        workers (`int`): threads, each with one of torch's own, since whole tensors are enough to share.
        seed (`int`): of methods that draw at random.
        advance (`Callable`, *optional*): told how many elements were finished.
        remedy (`str`, *optional*): what the caller's user can do where results do not fit their dtype, for the message.

    Raises:
        InputError: a tensor is not finite, or cannot be read or merged; names the tensor and the file.
    """
    queue, gate, memory = iter(jobs), _Gate(BUDGET), _Memory()
    taking, stop = threading.Lock(), threading.Event()

    def work() -> None:
        with torch.inference_mode():
            while not stop.is_set():
                with taking:
                    job = next(queue, None)
                if job is None:
                    return
                with gate.hold(job.nbytes):
                    for start in range(job.start, job.stop, job.step):
                        if stop.is_set():
                            return
                        end = min(start + job.step, job.stop)
                        piece = merge_piece(job.tensor, method, start, end, device, seed, memory, remedy)
                        write(job.tensor.name, start, piece)
                        with taking:
                            advance(end - start)

    def guarded() -> None:
        try:
            work()
        except BaseException:
            stop.set()
            raise

    with _one_thread_each(), ThreadPoolExecutor(workers, thread_name_prefix="merge") as pool:
        running = [pool.submit(guarded) for _ in range(workers)]
        try:
            for future in running:
                future.result()
        finally:
            stop.set()


def merge_piece(
    tensor: TensorPlan,
    method: MergeMethod,
    start: int,
    stop: int,
    device: torch.device,
    seed: int,
    memory: "_Memory | None" = None,
    remedy: str = REMEDY,
) -> Tensor:
    """Some elements of a tensor of the result, flat, on the CPU, in the result's dtype."""
    if tensor.parameters is None:
        return _agreed(tensor, start, stop)
    memory = memory or _Memory()
    whole = start == 0 and stop == tensor.layout.numel
    shape = tensor.layout.shape if whole else (stop - start,)
    given = [memory.read(i, each, start, stop).to(device).view(shape) for i, each in enumerate(tensor.all_inputs)]
    base = None if tensor.base is None else given.pop(0)
    generator = _generator(seed, tensor.name, start, device) if method.random else None
    try:
        merged = method(given, base, tensor.parameters, generator)
    except InputError as error:
        raise InputError(f"tensor '{tensor.name}': {error}") from error
    del given, base
    result = merged.reshape(-1).to(tensor.layout.dtype).cpu()
    if not _is_finite(result):
        raise InputError(
            f"tensor '{tensor.name}': the merged values are not finite in {str(tensor.layout.dtype).removeprefix('torch.')} "
            f"(largest magnitude {merged.abs().max().item():.3g}): {remedy}"
        )
    return result


class _Memory(threading.local):
    """What each thread reads into, piece after piece: memory that is new costs more time than reading a file that the system has at hand."""

    def __init__(self) -> None:
        self._slots: dict[int, Tensor] = {}

    def read(self, slot: int, given: Input, start: int, stop: int) -> Tensor:
        """Elements of a tensor, which stay until the thread reads into this slot again."""
        if isinstance(given.source, ReadsInto):
            piece = given.source.read_into(
                self._slot(slot, (stop - start) * given.layout.dtype.itemsize), given.tensor, start, stop
            )
        else:
            piece = given.source.read(given.tensor, start, stop)
        if not _is_finite(piece):
            what = "NaN" if piece.isnan().any() else "infinite"
            raise InputError(f"tensor '{given.tensor}' in {given} has {what} values")
        return piece

    def _slot(self, slot: int, nbytes: int) -> Tensor:
        held = self._slots.get(slot)
        if held is None or held.numel() < nbytes:
            held = torch.empty(nbytes, dtype=torch.uint8)
            if nbytes <= KEPT:
                self._slots[slot] = held
        return held


def _is_finite(piece: Tensor) -> bool:
    """One pass for the usual case: a finite sum has finite terms. A sum that is not may have overflowed."""
    if piece.numel() == 0:
        return True
    total = piece.sum(dtype=torch.promote_types(piece.dtype, torch.float32))
    return bool(total.isfinite()) or bool(piece.isfinite().all())


def _agreed(tensor: TensorPlan, start: int, stop: int) -> Tensor:
    """What all models say where no average makes sense: whole numbers and truth values."""
    first, *others = tensor.all_inputs
    piece = first.source.read(first.tensor, start, stop)
    for other in others:
        if not torch.equal(other.source.read(other.tensor, start, stop).to(piece.dtype), piece):
            raise InputError(
                f"tensor '{tensor.name}' is {str(piece.dtype).removeprefix('torch.')}, which cannot be merged, and differs between {first} and {other}"
            )
    return piece


def _generator(seed: int, name: str, start: int, device: torch.device) -> torch.Generator:
    """Its own random numbers for every piece, whatever the order in which pieces are done."""
    digest = hashlib.sha256(f"{seed}\0{name}\0{start}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


class _Gate:
    """Lets jobs in while they hold less than the budget together; one alone may hold more."""

    def __init__(self, budget: int) -> None:
        self._budget, self._held = budget, 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._held == 0 or self._held + size <= self._budget)
            self._held += size
        try:
            yield
        finally:
            with self._changed:
                self._held -= size
                self._changed.notify_all()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """New threads inherit torch's number of threads; several of them with several each would only wait for each other, and pieces are too small to be shared out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
