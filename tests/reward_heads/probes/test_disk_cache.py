import os
import signal
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

from frontier.errors import InputError
from reward_heads.probes.disk_cache import EmbeddingCache, text_hash

PRINT = "f" * 64


def vector_of(number, width=8):
    return np.random.default_rng(number).normal(size=width).astype(np.float32)


def filled(folder, numbers, width=8):
    cache = EmbeddingCache(folder, PRINT, width)
    cache.write(
        [text_hash("p", str(n)) for n in numbers],
        np.stack([vector_of(n, width) for n in numbers]),
        np.array([n % 2 == 0 for n in numbers]),
    )
    return cache


def found_in(cache, numbers):
    """The numbers that are known; fails if one of them has a wrong vector."""
    at, vectors, cut = cache.read([text_hash("p", str(n)) for n in numbers])
    for position, vector, was_cut in zip(at, vectors, cut, strict=True):
        np.testing.assert_array_equal(vector, vector_of(numbers[position], cache.width))
        assert was_cut == (numbers[position] % 2 == 0)
    return {numbers[position] for position in at}


def test_gives_back_what_was_written(tmp_path):
    filled(tmp_path, range(3))
    cache = EmbeddingCache(tmp_path, PRINT, 8)
    assert found_in(cache, list(range(5))) == {0, 1, 2}
    assert len(cache) == 3


def test_more_keys_than_one_query_holds(tmp_path):
    cache = filled(tmp_path, range(1203))
    assert found_in(cache, list(range(1202, -1, -1))) == set(range(1203))


def test_an_empty_cache_knows_nothing_and_makes_no_file(tmp_path):
    at, vectors, cut = EmbeddingCache(tmp_path, PRINT, 8).read([text_hash("a", "b")])
    assert at.shape == (0,)
    assert vectors.shape == (0, 8)
    assert cut.shape == (0,)
    assert not list(tmp_path.iterdir())


def test_texts_and_forms_do_not_collide():
    message = [{"role": "user", "content": "a"}]
    keys = [("a", "b"), ("ab", ""), ("", "ab"), ('a", "b', ""), (message, "b"), (str(message), "b"), ("\ud800", "")]
    assert len({text_hash(*key) for key in keys}) == len(keys)
    assert text_hash([{"content": "a", "role": "user"}], "b") == text_hash(message, "b")


def test_refuses_what_is_no_text():
    with pytest.raises(InputError, match="must be a string or a list of chat messages, found 3"):
        text_hash(3, "a")


def test_encoders_do_not_share_vectors(tmp_path):
    filled(tmp_path, range(3))
    assert not found_in(EmbeddingCache(tmp_path, "e" * 64, 8), [0, 1, 2])


def test_a_file_put_in_the_place_of_another_encoder_does_not_verify(tmp_path):
    cache = filled(tmp_path, range(3))
    other = EmbeddingCache(tmp_path, "e" * 64, 8)
    os.replace(cache.path, other.path)
    with pytest.warns(UserWarning, match="3 of 3 embeddings are damaged"):
        assert not found_in(other, [0, 1, 2])


def test_another_width_does_not_verify(tmp_path):
    filled(tmp_path, range(3))
    with pytest.warns(UserWarning, match="3 of 3 embeddings are damaged"):
        assert not found_in(EmbeddingCache(tmp_path, PRINT, 7), [0, 1, 2])


def test_a_changed_number_is_found_out_and_replaced(tmp_path):
    cache = filled(tmp_path, range(3))
    with sqlite3.connect(cache.path) as connection:
        blob = bytearray(vector_of(1).tobytes())
        blob[5] ^= 1
        connection.execute("UPDATE embeddings SET vector = ? WHERE text = ?", (bytes(blob), text_hash("p", "1")))
    with pytest.warns(UserWarning, match="1 of 3 embeddings are damaged"):
        assert found_in(cache, [0, 1, 2]) == {0, 2}
    filled(tmp_path, [1])
    assert found_in(cache, [0, 1, 2]) == {0, 1, 2}


@pytest.mark.filterwarnings("ignore:embedding cache")
@pytest.mark.parametrize("seed", range(12))
def test_random_damage_never_gives_a_wrong_number(tmp_path, seed):
    cache = filled(tmp_path, range(60), width=100)
    content, rng = bytearray(cache.path.read_bytes()), np.random.default_rng(seed)
    for _ in range(20):
        start = int(rng.integers(len(content)))
        content[start : start + 64] = rng.bytes(len(content[start : start + 64]))
    cache.path.write_bytes(content)
    found_in(cache, list(range(60)))  # checks every vector that it gives back
    filled(tmp_path, range(60), width=100)
    filled(tmp_path, range(60), width=100)  # the first of the two may have found the damage
    assert found_in(cache, list(range(60))) == set(range(60))


@pytest.mark.parametrize("content", [b"not a database, but long enough to be one" * 50, None])
def test_a_broken_file_is_set_aside_with_a_warning(tmp_path, content):
    cache = filled(tmp_path, range(400))
    if content is None:
        content = cache.path.read_bytes()[: 4096 * 3 + 100]  # cut off in the middle
    cache.path.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        assert not found_in(cache, [0, 399])
    assert (tmp_path / f"{cache.path.name}.damaged").read_bytes() == content
    filled(tmp_path, range(3))
    assert found_in(cache, [0, 1, 2]) == {0, 1, 2}


def test_an_emptied_file_is_filled_again(tmp_path):
    cache = filled(tmp_path, range(3))
    cache.path.write_bytes(b"")
    assert not found_in(cache, [0])
    filled(tmp_path, [0])
    assert found_in(cache, [0]) == {0}


def test_refuses_a_folder_that_can_not_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cache folder .* can't be created"):
        EmbeddingCache(tmp_path / "file", PRINT, 8)


WRITER = """
import sys
import numpy as np
from reward_heads.probes.disk_cache import EmbeddingCache, text_hash
folder, first, count, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
cache = EmbeddingCache(folder, "f" * 64, 8)
print("ready", flush=True)
for round in range(times):
    numbers = range(first + round * count, first + (round + 1) * count)
    vectors = np.stack([np.random.default_rng(n).normal(size=8).astype(np.float32) for n in numbers])
    cache.write([text_hash("p", str(n)) for n in numbers], vectors, np.array([n % 2 == 0 for n in numbers]))
"""


def start_writer(folder, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_write_at_once_and_nothing_is_lost(tmp_path):
    with start_writer(tmp_path, 0, 20, 15) as one, start_writer(tmp_path, 300, 20, 15) as other:
        assert [writer.wait(timeout=120) for writer in (one, other)] == [0, 0]
    cache = EmbeddingCache(tmp_path, PRINT, 8)
    assert found_in(cache, list(range(600))) == set(range(600))
    assert len(cache) == 600


@pytest.mark.parametrize("delay", [0.0, 0.07, 0.3])
def test_killed_while_writing(tmp_path, delay):
    with start_writer(tmp_path, 0, 2000, 500) as writer:
        assert writer.stdout.readline() == "ready\n"
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
    cache = EmbeddingCache(tmp_path, PRINT, 8)
    known = len(found_in(cache, list(range(20000))))
    assert known % 2000 == 0  # each write is whole or not there
    filled(tmp_path, range(5))
    assert found_in(cache, list(range(5))) == set(range(5))
