"""What the documentation shows must exist: verbs, flags, files, importable names."""

import re
import shlex
from pathlib import Path

import pytest

from moalign.cli import launch
from moalign.cli.command import parse
from moalign.cli.verbs import train

from ..shown import blocks, check_command, check_imports, commands

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


TEXTS = {page.relative_to(ROOT): page.read_text(encoding="utf-8") for page in PAGES}
COMMANDS = sorted({command for text in TEXTS.values() for command in commands(text)})
PROGRAMS = [(page, code) for page, text in TEXTS.items() for code in blocks(text, "python")]


def test_there_are_commands_of_every_verb():
    from moalign.cli import VERBS

    assert {command.split()[1] for command in COMMANDS} >= set(VERBS) - {"env"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_real_verbs_and_flags(command, capsys):
    check_command(command, capsys)
    for word in shlex.split(command, comments=True):
        assert not word.startswith("examples/") or (ROOT / word.partition(":")[0]).exists(), f"{word} does not exist"


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("moalign train ")])
def test_every_training_is_one_that_would_start(command, monkeypatch):
    """Values have the right types, and launch options fit together on a machine that has what they ask for."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(launch, "_on_cpu", lambda use_cpu: use_cpu)
    method, *arguments = shlex.split(command, comments=True)[2:]
    options = parse(train.command(method), arguments).build(launch.LaunchOptions)
    if options.accelerate_config is not None:
        launch._check(options, launch._read(launch.find_config(options.accelerate_config)), False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_are_shown_as_the_page_builder_understands_it(page):
    shown = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("--8")]
    for line in shown:
        assert (found := re.fullmatch(r'--8<-- "(.+)"', line)), line
        assert (ROOT / found[1]).is_file(), line


@pytest.mark.parametrize(("page", "code"), PROGRAMS, ids=lambda x: str(x) if isinstance(x, Path) else "")
def test_every_python_block_parses_and_imports_what_exists(page, code):
    if code.startswith("--8<--"):
        pytest.skip("a file of the examples, which has a test of its own")
    check_imports(code, page)
