import pytest

from frontier.errors import InputError
from moalign.serving.vllm.server import Server

GOOD = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}


def seen(line, **environment):
    return Server.seen(line.split(), {**GOOD, **environment})


@pytest.mark.parametrize(
    ("line", "rank"),
    [
        ("vllm serve M --enable-lora --max-lora-rank 64", 64),
        ("vllm serve M --enable-lora --max_lora_rank=32", 32),
        ("vllm serve M --max-lora-rank 8 --enable-lora --max-lora-rank 128", 128),
        ("vllm serve M --enable-lora", 16),  # what vLLM takes where it is not told
        ("/x/vllm/entrypoints/openai/api_server.py --enable-lora --max-lora-rank 64", 64),
        ("ray-worker", None),
    ],
)
def test_the_rank_that_vllm_was_given(line, rank):
    assert seen(line).max_rank == rank


def test_a_configuration_file_is_read_and_flags_go_before_it(tmp_path):
    file = tmp_path / "vllm.yaml"
    file.write_text("enable-lora: true\nmax-lora-rank: 64\n")
    found = seen(f"vllm serve M --config {file}")
    assert (found.lora, found.max_rank) == (True, 64)
    assert seen(f"vllm serve M --config {file} --max-lora-rank 8").max_rank == 8


def test_the_environment_says_what_a_command_line_does_not():
    assert seen("ray-worker", MOALIGN_VLLM_MAX_LORA_RANK="32").max_rank == 32
    with pytest.raises(InputError, match="'many', expected a whole number"):
        seen("ray-worker", MOALIGN_VLLM_MAX_LORA_RANK="many")


@pytest.mark.parametrize(("rank", "flag"), [(17, 32), (24, 32), (65, 128), (300, 320), (512, 512)])
def test_a_rank_too_large_names_the_flags(rank, flag):
    with pytest.raises(InputError, match=rf"'policy' needs rank {rank}, .*--enable-lora --max-lora-rank {flag}$"):
        seen("vllm serve M --enable-lora").check({"small": 8, "policy": rank})


def test_no_flag_makes_room_for_more_than_512():
    with pytest.raises(InputError, match="at most 512: export truncated"):
        seen("vllm serve M --enable-lora --max-lora-rank 512").check({"policy": 513})


def test_what_would_fail_silently_is_refused_at_start():
    with pytest.raises(InputError, match=r"LoRA is off.*--enable-lora --max-lora-rank 16"):
        seen("vllm serve M").check({"policy": 10})
    with pytest.raises(InputError, match="LoRA is off"):
        seen("vllm serve M --enable-lora --no-enable-lora").check({"policy": 10})
    with pytest.raises(InputError, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING=1"):
        seen("vllm serve M --enable-lora", VLLM_ALLOW_RUNTIME_LORA_UPDATING="0").check({"policy": 10})
    with pytest.raises(InputError, match="the base model would answer"):
        seen("vllm serve M --enable-lora", VLLM_SKIP_MODEL_NAME_VALIDATION="1").check({"policy": 10})


@pytest.mark.parametrize("line", ["vllm serve M --enable-lora --max-lora-rank 16", "vllm serve --help", "ray-worker"])
def test_what_starts(line):
    seen(line).check({"policy": 16})
    Server.seen([], {}).check({"policy": 16})
