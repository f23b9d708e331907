"""What the documentation shows must exist: verbs, flags, files, importable names."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

from moalign.cli import launch, main
from moalign.cli.command import parse
from moalign.cli.verbs import train

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


@pytest.mark.parametrize(("page", "code"), list(blocks("python")), ids=lambda x: str(x) if isinstance(x, Path) else "")
def test_every_python_block_parses_and_imports_what_exists(page, code):
    if code.startswith("--8<--"):
        pytest.skip("a file of the examples, which has a test of its own")
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{page}: {node.module} has no {alias.name}"
