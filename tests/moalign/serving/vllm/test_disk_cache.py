import multiprocessing
import os
import shutil

import pytest

from frontier.errors import InputError
from moalign.serving.vllm.disk_cache import CacheFull, DiskCache

# Forked, so that a process starts at once; none of them computes.
FORK = multiprocessing.get_context("fork")


def filled(content="x", size=100):
    def write(folder):
        (folder / "adapter_model.safetensors").write_text(content * size)
        return {"rank": 1}

    return write


def never(folder):
    raise AssertionError("written again")


def leave(cache, keys):
    """As a server that ran and ended: what it was given is in nobody's use."""

    def run():
        for key in keys:
            cache.get(key, filled())

    process = FORK.Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == 0


@pytest.fixture
def cache(tmp_path):
    return DiskCache(tmp_path / "cache", max_adapters=3, max_bytes=10**6)


def test_written_once(cache):
    folder, there = cache.get("a", filled("a"))
    assert (folder.name, there) == ("a", False)
    assert cache.get("a", never) == (folder, True)
    assert (folder / "adapter_model.safetensors").read_text() == "a" * 100


def test_the_least_recently_asked_for_goes_first(cache):
    leave(cache, ["a", "b", "c", "a"])
    assert cache.keys() == ["b", "c", "a"]
    cache.get("d", filled())
    assert cache.keys() == ["c", "a", "d"]


def test_bytes_are_bounded_too(tmp_path):
    cache = DiskCache(tmp_path / "cache", max_adapters=100, max_bytes=2450)
    leave(cache, ["a", "b", "c"])
    cache.get("d", filled(size=2000))
    assert cache.keys() == ["c", "d"]  # 2,000 bytes, 100, and about 90 of notes each
    with pytest.raises(CacheFull, match="MOALIGN_VLLM_CACHE_BYTES"):
        cache.get("e", filled(size=2000))


def test_what_a_running_server_uses_is_never_given_up(cache, tmp_path):
    """vLLM reads an adapter's folder again whenever it comes back into memory, and stops if it is gone."""
    ours, theirs = FORK.Pipe()

    def serve():
        cache.get("a", filled())
        theirs.send("serving")
        theirs.recv()

    server = FORK.Process(target=serve)
    server.start()
    ours.recv()
    other = DiskCache(tmp_path / "cache", max_adapters=1, max_bytes=10**6)
    with pytest.raises(CacheFull, match=r"1 of at most 1.*MOALIGN_VLLM_CACHE_ADAPTERS.*coarser MOALIGN_VLLM_STEP"):
        other.get("b", filled())
    assert other.keys() == ["a"]
    assert not list((tmp_path / "cache" / "adapters").glob(".*"))
    ours.send("end")
    server.join()
    other.get("b", filled())
    assert other.keys() == ["b"]
    assert len(list((tmp_path / "cache" / "leases").iterdir())) == 1  # the ended server's is gone


def test_a_killed_server_holds_nothing(cache, tmp_path):
    def serve():
        cache.get("a", filled())
        os.kill(os.getpid(), 9)

    server = FORK.Process(target=serve)
    server.start()
    server.join()
    small = DiskCache(tmp_path / "cache", max_adapters=1, max_bytes=10**6)
    small.get("b", filled())
    assert small.keys() == ["b"]


def test_processes_that_ask_at_once_write_each_adapter_once(tmp_path):
    log = tmp_path / "written"
    keys = [f"k{i}" for i in range(12)]

    def serve(order):
        cache = DiskCache(tmp_path / "cache", max_adapters=100, max_bytes=10**6)
        for key in order:

            def write(folder, key=key):
                with log.open("a") as file:
                    file.write(f"{key}\n")
                return filled(key)(folder)

            folder, _ = cache.get(key, write)
            assert (folder / "adapter_model.safetensors").read_text() == key * 100

    processes = [FORK.Process(target=serve, args=(order,)) for order in (keys, keys, keys[::-1])]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert sorted(log.read_text().split()) == sorted(keys)


def test_a_failed_write_leaves_nothing(cache):
    def fails(folder):
        (folder / "adapter_model.safetensors").write_text("half")
        raise InputError("no")

    with pytest.raises(InputError, match="no"):
        cache.get("a", fails)
    assert cache.keys() == []
    assert cache.get("a", filled())[1] is False


@pytest.mark.parametrize("harm", ["cut", "no note", "empty"])
def test_a_damaged_adapter_is_written_again(cache, harm):
    folder, _ = cache.get("a", filled())
    if harm == "cut":
        (folder / "adapter_model.safetensors").write_text("x")
    elif harm == "no note":
        (folder / "entry.json").unlink()
    else:
        shutil.rmtree(folder)
        folder.mkdir()
    assert cache.get("a", filled())[1] is False
    assert (folder / "adapter_model.safetensors").read_text() == "x" * 100


def test_what_a_crash_left_half_written_is_cleared_away(cache, tmp_path):
    half = tmp_path / "cache" / "adapters" / ".a.q1w2"
    half.mkdir(parents=True)
    assert cache.keys() == []
    cache.get("a", filled())
    assert not half.exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        DiskCache(tmp_path / "file", 1, 1).get("a", filled())
