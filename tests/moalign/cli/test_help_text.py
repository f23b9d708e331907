import enum
from dataclasses import dataclass, field
from typing import Literal

import pytest

from moalign.cli.command import Command, about, parse
from moalign.cli.help_text import kind


class Pace(enum.Enum):
    SLOW = "slow"
    FAST = "fast"


@pytest.mark.parametrize(
    ("hint", "word"),
    [
        (int | None, "INT"),
        (float, "NUMBER"),
        (list[str] | str | None, "A,B|TEXT"),
        (dict[str, float] | None, "NAME=VALUE,..."),
        (Literal["lora", "merged"], "lora|merged"),
        (Pace | str, "slow|fast"),
        (object, "VALUE"),
    ],
)
def test_types_in_a_word(hint, word):
    assert kind(hint) == word


@dataclass
class Theirs:
    """Stands for a trainer's settings."""

    max_steps: int = field(default=-1, metadata={"help": "Steps: 100 % of them."})
    obscure: bool = field(default=False, metadata={"help": "Rarely used."})


Theirs.__module__ = "transformers.training_args"


@dataclass
class Ours(Theirs):
    """Stands for our settings on top."""

    pace: Pace = field(default=Pace.FAST, metadata={"help": "How fast."})
    objectives: list[str] = field(default_factory=lambda: ["a"], metadata={"help": "Names."})
    limit: int | None = None
    fresh: bool = field(default=False, metadata={"help": "Start anew."})
    careful: bool = field(default=True, metadata={"help": "Take care."})


Ours.__module__ = "moalign.methods.example"


@dataclass
class Verb:
    """The verb's own."""

    bundle: str = field(metadata=about("The bundle.", positional=True))
    out: str = field(metadata=about("Where to."))


Verb.__module__ = "moalign.cli.verbs.example"
COMMAND = Command("example", "Does it.", (Verb, Ours), details="A last word.", common=("max_steps",))


def page(capsys, flag):
    assert parse(COMMAND, [flag]) is None
    return capsys.readouterr().out


def test_own_options_come_first_and_inherited_ones_are_counted(capsys):
    text = page(capsys, "--help")
    assert text.startswith("usage: moalign example BUNDLE --out TEXT [--config x.yaml]")
    order = [
        text.index(part)
        for part in (
            "The bundle.",
            "Where to. (required)",
            "How fast.",
            "Steps: 100 %",
            "--config FILE",
            "A last word.",
        )
    ]
    assert order == sorted(order)
    assert "obscure" not in text
    assert "1 more come from transformers.Theirs: --help-all" in " ".join(text.split())


def test_defaults_are_shown_as_typed(capsys):
    text = page(capsys, "--help")
    assert "How fast. (default: fast)" in text
    assert "Names. (default: a)" in text


def test_help_all_lists_the_inherited_ones(capsys):
    text = page(capsys, "--help-all")
    assert "Rarely used. (default: false)" in text
    assert "inherited (transformers Theirs):" in text


def test_a_flag_stands_alone_unless_it_is_on_already(capsys):
    lines = [" ".join(line.split()) for line in page(capsys, "--help").splitlines()]
    assert "--fresh Start anew. (default: false)" in lines
    assert "--careful BOOL Take care. (default: true)" in lines


def test_a_long_name_has_a_line_of_its_own(capsys):
    from moalign.cli.help_text import COLUMN, show_overview

    long = "verb " + "x" * COLUMN
    lines = show_overview({long: ("", "what it does"), "short": ("ARG", "y")}).splitlines()
    assert f"  {long}" in lines
    assert lines[lines.index(f"  {long}") + 1] == " " * COLUMN + "what it does"
    assert f"{'  short ARG':<{COLUMN}}y" in lines


def test_text_is_wrapped_to_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, page(capsys, "--help").splitlines()[1:])) <= 70
