"""The forms that an export has, and what each needs; imports nothing heavy."""

from frontier.errors import InputError, unknown_name

KINDS = ("lora", "truncated", "merged")


def check_kind(kind: str, rank: int | None) -> None:
    """Refuse an unknown kind of export, a truncation without its rank, and a rank without a truncation.

    Args:
        kind (`str`): one of `KINDS`.
        rank (`int`, *optional*): of a truncated LoRA.

    Raises:
        InputError: see above.
    """
    if kind not in KINDS:
        raise unknown_name("kind of export", kind, KINDS)
    if kind == "truncated" and rank is None:
        raise InputError("a truncated export needs its rank: give --rank, the most that any layer may have")
    if kind != "truncated" and rank is not None:
        raise InputError(f"--rank {rank} is what a truncated export is cut to: give --kind truncated, or leave it out")
    if rank is not None and rank < 1:
        raise InputError(f"rank must be a positive integer, found {rank!r}")
