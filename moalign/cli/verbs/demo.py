"""`moalign demo`: the whole pipeline on a small world of the project's own."""

from collections.abc import Sequence

from moalign.cli.command import Command, parse
from moalign.cli.quiet import hide_loading_bars


def run(arguments: Sequence[str]) -> int:
    """Run the demo; it prints what it does and how to go on."""
    from moalign.demo.pipeline import DemoConfig, run_demo

    command = Command(
        "demo",
        "Run every stage on a small world of readable English: train a language model, reward heads and a steerable policy, measure and draw its front, "
        "pick points, answer a prompt at several preferences. No network, no download.",
        (DemoConfig,),
    )
    values = parse(command, arguments)
    if values is None:
        return 0
    hide_loading_bars()
    run_demo(values.build(DemoConfig))
    return 0
