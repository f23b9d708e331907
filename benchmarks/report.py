"""Every benchmark speaks the same: `--json FILE [--quick] [--data DIR]`, a table on the terminal, rows in a file."""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from frontier.atomic import write_text

PACKAGES = ("moalign", "torch", "transformers", "trl", "peft", "moocore", "pymoo")


@dataclass(frozen=True)
class Row:
    """One measured value.

    Args:
        id (`str`): stable name, such as `clp.gain.mean`.
        what (`str`): what it is, and why when a bar is missed.
        value (`float`, *optional*): the figure.
        unit (`str`): of the value.
        interval (`list[float]`, *optional*): 95 % interval, or the spread over seeds.
        peer (`str`, *optional*), peer_value (`float`, *optional*): what it is compared with, in the same run.
        bar (`str`, *optional*): the target as text, such as `>= 0.9`.
        holds (`bool`, *optional*): whether the bar is met; `None` where there is none.
    """

    id: str
    what: str
    value: float | None
    unit: str = ""
    interval: list[float] | None = None
    peer: str | None = None
    peer_value: float | None = None
    bar: str | None = None
    holds: bool | None = None

    def __post_init__(self) -> None:
        # A comparison of NumPy numbers is no bool that JSON knows.
        if self.holds is not None:
            object.__setattr__(self, "holds", bool(self.holds))


def at_least(bar: float, value: float) -> dict[str, Any]:
    """The fields `bar` and `holds` of a row that should reach a value."""
    return {"bar": f">= {bar:g}", "holds": bool(value >= bar)}


def at_most(bar: float, value: float) -> dict[str, Any]:
    """The fields `bar` and `holds` of a row that should stay below a value."""
    return {"bar": f"<= {bar:g}", "holds": bool(value <= bar)}


def device() -> str:
    """The accelerator's name, or the number of CPU cores."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()}-core {platform.machine()} CPU"


def commit() -> str | None:
    """The commit that is measured; `None` outside a git checkout."""
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None


def print_table(rows: Sequence[Row]) -> None:
    """An aligned table: value, bar, peer and whether the bar holds."""
    cells = [["id", "value", "bar", "holds", "peer", "what"]]
    for row in rows:
        peer = f"{row.peer} {row.peer_value:.4g}" if row.peer and row.peer_value is not None else ""
        holds = {True: "yes", False: "NO", None: ""}[row.holds]
        value = "" if row.value is None else f"{row.value:.4g} {row.unit}".strip()
        cells.append([row.id, value, row.bar or "", holds, peer, row.what])
    widths = [max(len(line[i]) for line in cells) for i in range(5)]
    for line in cells:
        print("  ".join([*(c.ljust(w) for c, w in zip(line, widths, strict=False)), line[5]]))


def main(
    name: str, run: Callable[[argparse.Namespace], list[Row]], options: Sequence[tuple[str, dict[str, Any]]] = ()
) -> None:
    """Parse the common flags, run, print the table, write the JSON.

    Args:
        name (`str`): of the benchmark.
        run: gets the parsed flags (`quick`, `data`, ...) and returns the rows.
        options: further flags, as arguments of `add_argument`.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=run.__doc__)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--quick", action="store_true", help="a smaller run that shows only that everything works")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the folder with real data")
    for flag, settings in options:
        parser.add_argument(flag, **settings)
    args = parser.parse_args()
    import torch

    # The models are small: a second thread costs more than it brings, and ten times more beside another busy process.
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    started = perf_counter()
    rows = run(args)
    print_table(rows)
    if args.json:
        from moalign.training.runs.folder import finite

        versions = {package: importlib.metadata.version(package) for package in PACKAGES}
        report = {
            "benchmark": name,
            "quick": args.quick,
            "device": device(),
            "commit": commit(),
            "versions": versions,
            "seconds": perf_counter() - started,
            "rows": [finite(asdict(row)) for row in rows],
        }
        write_text(args.json, json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        print(f"wrote {args.json}")
