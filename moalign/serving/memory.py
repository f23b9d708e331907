"""How many positions of keys and values fit the memory of this machine."""

import logging
from pathlib import Path

import torch

from frontier.errors import InputError

logger = logging.getLogger(__name__)

# The other half is for activations, and for whatever else runs here.
SHARE = 0.5


def available_bytes(device: torch.device) -> int:
    """Memory that is free on a device now; on the CPU, what the machine and this process's control group still have."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = [_meminfo(Path("/proc/meminfo")), _cgroup(Path("/sys/fs/cgroup"))]
    known = [value for value in free if value is not None]
    # Where the system does not tell (macOS, Windows): modest enough for any machine that holds the model.
    return min(known) if known else 4 * 2**30


def _meminfo(path: Path) -> int | None:
    if not path.exists():
        return None
    lines = [line.split() for line in path.read_text().splitlines() if line.startswith("MemAvailable:")]
    return int(lines[0][1]) * 1024 if lines else None


def _cgroup(folder: Path) -> int | None:
    limit, used = folder / "memory.max", folder / "memory.current"
    if not (limit.exists() and used.exists()) or not limit.read_text().strip().isdigit():
        return None
    # Files that were read, such as the model's own weights, count as used until somebody needs the room.
    stat = folder / "memory.stat"
    lines = [line.split() for line in stat.read_text().splitlines()] if stat.exists() else []
    files = sum(int(value) for name, value in lines if name in ("inactive_file", "active_file"))
    return max(0, int(limit.read_text()) - max(0, int(used.read_text()) - files))


def positions_that_fit(free: int, position_bytes: int, most: int | None) -> int:
    """Positions for half of the free memory.

    Args:
        free (`int`): bytes.
        position_bytes (`int`): of one token in all layers.
        most (`int`, *optional*): more than this are never used.

    Raises:
        InputError: not even one fits.
    """
    fitting = int(free * SHARE) // position_bytes
    if fitting < 1:
        raise InputError(
            f"max_total_tokens: no memory for a cache: {free / 2**20:.0f} MiB are free and one token takes {position_bytes / 2**10:.0f} KiB"
        )
    return fitting if most is None else min(fitting, most)


def warn_if_too_large(tokens: int, position_bytes: int, device: torch.device) -> None:
    """Say so where a bound that somebody chose is more than there is: the cache grows into it only under load."""
    needed, free = tokens * position_bytes, available_bytes(device)
    if needed > free:
        logger.warning(
            "the cache may grow to %.1f GiB (%d tokens), but %.1f GiB are free; lower max_total_tokens or prefix_tokens",
            needed / 2**30, tokens, free / 2**30,
        )  # fmt: skip
