"""What the README shows must exist: verbs, flags, importable names, make targets."""

import re
from pathlib import Path

import pytest

from .shown import blocks, check_command, check_imports, commands

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


COMMANDS = commands(README) + re.findall(r"`(moalign (?:export|serve|env)[^`]*)`", README)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_real_verbs_and_flags(command, capsys):
    check_command(command, capsys)


def test_there_are_commands():
    assert {c.split()[1] for c in COMMANDS} >= {"reward", "train", "front", "pick", "serve", "export"}


@pytest.mark.parametrize("code", blocks(README, "python"))
def test_every_python_block_parses_and_imports_what_exists(code):
    check_imports(code, "README.md")


def test_make_targets_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"test", "test-slow"} <= targets
    assert set(re.findall(r"\bmake ([\w-]+)", README)) <= targets


def test_every_method_is_in_the_table():
    from moalign.cli.methods import METHODS

    for name in METHODS:
        assert re.search(rf"^\| `{name}` \|", README, re.MULTILINE), f"the methods table lacks {name}"


def numbers(text):
    return set(re.findall(r"(?<![\w.])[\d.]*\d(?![\w.]*\d)", text))


def test_figures_of_the_methods_are_those_of_the_page_that_has_them_all():
    measured = (ROOT / "docs/measured.md").read_text(encoding="utf-8")
    from moalign.cli.methods import METHODS

    for name in METHODS:
        short, long = (re.search(rf"^\| `{name}` \|.*$", text, re.MULTILINE)[0] for text in (README, measured))
        of_peers = numbers(measured) if name == "clp" else set()
        assert numbers(short) - {"8"} <= numbers(long) | of_peers, name


def test_files_that_it_links_to_exist():
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []
