"""What pages show a reader (commands, programs), checked against what there is."""

import ast
import importlib
import re
import shlex

from moalign.cli import main


def blocks(text, language):
    """The fenced blocks of a page."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text):
    """The `moalign` lines of a page's bash blocks."""
    lines = (line.strip() for block in blocks(text, "bash") for line in block.splitlines())
    return [line for line in lines if line.startswith("moalign ")]


def check_command(command, capsys):
    """The verb and each flag are in the verb's own help."""
    words = shlex.split(command, comments=True)
    deep = {"train": 2, "reward": 2, "soup": 2}.get(words[1], 1) if words[1:3] != ["serve", "keys"] else 3
    verb = [w for w in words[1 : 1 + deep] if not w.startswith("-")]
    assert main([*verb, "--help-all"]) == 0
    shown = capsys.readouterr().out
    for flag in (w.partition("=")[0] for w in words if w.startswith("--")):
        assert re.search(rf"{re.escape(flag)}\b", shown), f"{verb} has no {flag}"


def check_imports(code, where):
    """It parses, and each name that it imports from a module is there."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{where}: {node.module} has no {alias.name}"
