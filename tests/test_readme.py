"""What the README shows must exist: verbs, flags, importable names, make targets."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from moalign.cli import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [
    line for block in blocks("bash") for line in block.splitlines() if line.startswith("moalign ")
] + re.findall(r"`(moalign (?:export|serve|env)[^`]*)`", README)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_real_verbs_and_flags(command, capsys):
    words = shlex.split(command, comments=True)
    deep = {"train": 2, "reward": 2, "soup": 2}.get(words[1], 1) if words[1:3] != ["serve", "keys"] else 3
    verb = [w for w in words[1 : 1 + deep] if not w.startswith("-")]
    assert main([*verb, "--help-all"]) == 0
    shown = capsys.readouterr().out
    for flag in (w.partition("=")[0] for w in words if w.startswith("--")):
        assert re.search(rf"{re.escape(flag)}\b", shown), f"{verb} has no {flag}"


def test_there_are_commands():
    assert {c.split()[1] for c in COMMANDS} >= {"reward", "train", "front", "pick", "serve", "export"}


@pytest.mark.parametrize("code", blocks("python"))
def test_every_python_block_parses_and_imports_what_exists(code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


def test_make_targets_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake (\w+)", README)) <= targets


def test_every_method_is_in_the_table():
    from moalign.cli.methods import METHODS

    for name in METHODS:
        assert re.search(rf"^\| `{name}` \|", README, re.MULTILINE), f"the methods table lacks {name}"


def test_the_programs_about_fronts_run(tmp_path, monkeypatch, capsys):
    from frontier import ParetoFront, PromptRewards

    rng, weights = np.random.default_rng(0), np.linspace(0, 1, 11)
    difficulty = rng.normal(0, 0.3, (1, 40, 2))

    def front(gain):
        means = gain * np.stack([weights**0.6, (1 - weights) ** 0.6], axis=1)[:, None]
        rewards = PromptRewards(
            ("helpful", "brief"),
            means + difficulty + rng.normal(0, 0.1, (11, 40, 2)),
            tuple(f"prompt {i}" for i in range(40)),
        )
        asked = [{"weights": {"helpful": float(w), "brief": float(1 - w)}} for w in weights]
        return ParetoFront.of_prompt_rewards(rewards, asked)

    (tmp_path / "runs/policy").mkdir(parents=True)
    front(1.0).save(tmp_path / "runs/policy/front.json")
    monkeypatch.chdir(tmp_path)
    section = README.split("## Fronts with error bars")[1].split("\n## ")[0]
    programs = re.findall(r"```python\n(.*?)```", section, flags=re.S)
    assert len(programs) == 4
    names = {
        "other": front(0.8),
        "ask_someone": lambda a, b: "a" if a.rewards[0] > b.rewards[0] else "b",
        "evaluate": lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True),
    }
    for program in programs:
        exec(program, names)
    assert "certified" in capsys.readouterr().out
    assert (tmp_path / "runs/explored.jsonl").is_file()
