"""Print results on stdout, once: with several processes only the first one speaks."""

import os


def is_main_process() -> bool:
    """Whether this is the process that speaks and writes (`accelerate launch` numbers them in `RANK`)."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str = "") -> None:
    """Print a line of output for the user."""
    if is_main_process():
        print(text, flush=True)  # noqa: T201 - the one place that prints
