"""`moalign env`: what a bug report needs to say about the machine, without its paths."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.versions import TRAINED_WITH, versions

PACKAGES = (
    *TRAINED_WITH,
    *("huggingface_hub", "scipy", "scikit-learn", "pandas", "pyarrow", "moocore", "pymoo", "botorch", "torchjd"),
    *("plotly", "matplotlib", "fastapi", "uvicorn", "openai", "vllm", "deepspeed"),
)


@dataclass
class EnvOptions:
    """Options of `moalign env`."""

    json: bool = field(default=False, metadata=about("Print JSON."))


def run(arguments: Sequence[str]) -> int:
    """Print the versions and devices."""
    command = Command(
        "env", "Print versions and devices, for bug reports. No paths, no names of the machine.", (EnvOptions,)
    )
    values = parse(command, arguments)
    if values is None:
        return 0
    report = environment()
    if values.build(EnvOptions).json:
        say(json.dumps(report, indent=2))
        return 0
    flat = {**{k: v for k, v in report.items() if k != "packages"}, **report["packages"]}
    width = max(map(len, flat))
    for name, value in flat.items():
        say(f"{name:<{width}}  {', '.join(value) if isinstance(value, list) else value}")
    return 0


def environment() -> dict[str, Any]:
    """Versions, platform, cores, devices."""
    import torch

    installed = versions(PACKAGES)
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": cores,
        "threads": torch.get_num_threads(),
        "devices": devices or ["cpu"],
        "cuda": torch.version.cuda or "none",
        "packages": {name: installed.get(name, "not installed") for name in PACKAGES},
    }
