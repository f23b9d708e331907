"""Run every benchmark: `python -m benchmarks --quick` (what `make bench` does)."""

import argparse
import pkgutil
import subprocess
import sys
from pathlib import Path

import benchmarks

NOT_BENCHMARKS = ("report", "jobs", "parts", "__main__")


def names() -> list[str]:
    """The modules of this package that are benchmarks."""
    return sorted(m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in NOT_BENCHMARKS)


def run_all() -> int:
    """Run each in a process of its own; the number of those that failed to run (missed bars are rows, not failures)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=run_all.__doc__)
    parser.add_argument("--quick", action="store_true", help="pass --quick to each")
    parser.add_argument("--data", default="../shared/data", help="the folder with real data")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"), help="folder for the JSON files")
    args = parser.parse_args()
    failed = []
    for name in names():
        print(f"\n== {name}", flush=True)
        command = [
            sys.executable,
            "-m",
            f"benchmarks.{name}",
            "--data",
            args.data,
            "--json",
            str(args.out / f"{name}.json"),
        ]
        if subprocess.run(command + ["--quick"] * args.quick, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed to run: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(run_all())
