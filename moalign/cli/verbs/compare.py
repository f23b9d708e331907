"""`moalign compare`: lay measured fronts side by side, and say whether the first beats the others."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frontier.errors import InputError
from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.cli.measured_front import measured_front

if TYPE_CHECKING:
    from frontier.front import ParetoFront

PICTURES = (".html", ".png", ".svg", ".pdf")


@dataclass
class CompareOptions:
    """Options of `moalign compare`."""

    front: str = field(
        metadata=about("The front to test: a bundle, a folder with a front.json, or the file.", positional=True)
    )
    other: str = field(metadata=about("The front to test it against, in the same forms.", positional=True))
    others: list[str] | None = field(default=None, metadata=about("Further fronts to test the first against."))
    labels: list[str] | None = field(
        default=None, metadata=about("A name for each front, by default the name of its folder or file.")
    )
    level: float = field(default=0.95, metadata=about("Confidence of the intervals and the tests."))
    power: float = field(
        default=0.8, metadata=about("The chance to decide that the number of prompts still needed stands for.")
    )
    resamples: int | None = field(
        default=None,
        metadata=about(
            "How often the prompts are redrawn for the intervals: by default 2000 times, 500 for fronts of more than 100 points."
        ),
    )
    seed: int = field(default=0, metadata=about("Of the redraws."))
    plot: str | None = field(
        default=None, metadata=about("Draw the fronts together: a .html page that works offline, or .png, .svg, .pdf.")
    )
    json: bool = field(default=False, metadata=about("Print JSON."))


COMMAND = Command(
    "compare",
    "Compare measured fronts: hypervolume above one reference point, EUM, MIP and their difference, with intervals over the prompts; the paired test "
    "whether the first front beats the others, and how many more prompts would decide.",
    (CompareOptions,),
    details="Fronts compare when they have the same objectives and the same normaliser; the test needs fronts that were measured on the same prompts "
    "(`moalign front A --compare B` measures both alike). Each p-value is for its own figure alone.",
)


def run(arguments: Sequence[str]) -> int:
    """Print the table, and draw."""
    values = parse(COMMAND, arguments)
    if values is None:
        return 0
    options = values.build(CompareOptions)
    if options.plot is not None and Path(options.plot).suffix not in PICTURES:
        raise InputError(f"--plot: found {options.plot!r}, expected a file that ends in {', '.join(PICTURES)}")
    fronts = _fronts([options.front, options.other, *(options.others or [])], options.labels)
    from frontier.compare import compare_fronts

    found = compare_fronts(
        fronts, level=options.level, power=options.power, resamples=options.resamples, seed=options.seed
    )
    if options.plot is not None:
        _draw(fronts, Path(options.plot))
    if options.json:
        say(json.dumps(found.to_json(), indent=2, ensure_ascii=False))
    else:
        say(found.table())
        if options.plot is not None:
            say(f"\nWritten: {options.plot}")
    return 0


def _fronts(places: Sequence[str], labels: Sequence[str] | None) -> "dict[str, ParetoFront]":
    """The fronts by label."""
    if len({Path(place).resolve() for place in places}) < len(places):
        raise InputError(f"a front is named twice in {', '.join(places)}")
    names = list(labels) if labels is not None else _names(places)
    if len(names) != len(places):
        raise InputError(f"--labels: found {len(names)} names for {len(places)} fronts")
    if len(set(names)) < len(names) or not all(names):
        raise InputError(f"--labels: names must differ and not be empty, found {', '.join(names)}")
    return {name: measured_front(place) for name, place in zip(names, places, strict=True)}


def _names(places: Sequence[str]) -> list[str]:
    """A short name for each: its folder's, its file's where that says more; the whole path where two would share one."""
    short = []
    for place in places:
        path = Path(place).resolve()
        of_file = path.is_file() and path.name != "front.json"
        short.append(path.stem if of_file else path.parent.name if path.is_file() else path.name)
    return [name if short.count(name) == 1 else place for name, place in zip(short, places, strict=True)]


def _draw(fronts: "dict[str, ParetoFront]", path: Path) -> None:
    from frontier.plot import front_page, plot_front

    title = " and ".join(fronts)
    draw: Any = front_page if path.suffix == ".html" else plot_front
    draw(fronts, path, title=f"Pareto fronts of {title}")
