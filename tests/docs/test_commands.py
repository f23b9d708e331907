"""What the documentation shows must exist: verbs, flags, files, importable names."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

from moalign.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def blocks(language):
    for page in PAGES:
        for block in re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            yield page.relative_to(ROOT), block


COMMANDS = sorted(
    {line.strip() for _, block in blocks("bash") for line in block.splitlines() if line.startswith("moalign ")}
)


def test_there_are_commands_of_every_verb():
    from moalign.cli import VERBS

    assert {command.split()[1] for command in COMMANDS} >= set(VERBS) - {"env"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_real_verbs_and_flags(command, capsys):
    words = shlex.split(command, comments=True)
    deep = {"train": 2, "reward": 2, "soup": 2}.get(words[1], 1) if words[1:3] != ["serve", "keys"] else 3
    verb = [w for w in words[1 : 1 + deep] if not w.startswith("-")]
    assert main([*verb, "--help-all"]) == 0
    shown = capsys.readouterr().out
    for flag in (w.partition("=")[0] for w in words if w.startswith("--")):
        assert re.search(rf"{re.escape(flag)}\b", shown), f"{verb} has no {flag}"
    for word in words:
        assert not word.startswith("examples/") or (ROOT / word.partition(":")[0]).exists(), f"{word} does not exist"


@pytest.mark.parametrize(("page", "code"), list(blocks("python")), ids=lambda x: str(x) if isinstance(x, Path) else "")
def test_every_python_block_parses_and_imports_what_exists(page, code):
    if code.startswith("--8<--"):
        pytest.skip("a file of the examples, which has a test of its own")
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{page}: {node.module} has no {alias.name}"
