import logging

import pytest
import torch

from frontier.errors import InputError
from moalign.serving.memory import _cgroup, available_bytes, positions_that_fit, warn_if_too_large

CPU = torch.device("cpu")


def test_half_of_the_free_memory_is_for_the_cache():
    assert positions_that_fit(1000, 10, None) == 50
    assert positions_that_fit(1000, 10, 40) == 40
    with pytest.raises(InputError, match=r"0 MiB are free and one token takes 1 KiB"):
        positions_that_fit(1000, 1024, None)


def test_this_machine_has_some():
    assert 2**20 < available_bytes(CPU) < 2**50


def test_a_bound_beyond_the_memory_is_told(caplog):
    caplog.set_level(logging.WARNING)
    warn_if_too_large(10, 4, CPU)
    assert not caplog.records
    warn_if_too_large(2**40, 2**20, CPU)
    assert "lower max_total_tokens or prefix_tokens" in caplog.text


def test_files_that_were_read_leave_their_room(tmp_path):
    (tmp_path / "memory.max").write_text("8000\n")
    (tmp_path / "memory.current").write_text("7900\n")
    assert _cgroup(tmp_path) == 100
    (tmp_path / "memory.stat").write_text("anon 1900\nfile 6000\ninactive_file 5000\nactive_file 600\nshmem 400\n")
    assert _cgroup(tmp_path) == 5700
    (tmp_path / "memory.max").write_text("max\n")
    assert _cgroup(tmp_path) is None
