"""The programs of the guide to fronts run, one after the other, as its reader types them."""

import re
from pathlib import Path

import numpy as np

from frontier import ParetoFront, PromptRewards

GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/fronts.md"


def test_the_programs_run(tmp_path, monkeypatch, capsys):
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

    for name, gain in (("policy", 1.0), ("other", 0.8)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        front(gain).save(tmp_path / "runs" / name / "front.json")
    monkeypatch.chdir(tmp_path)
    programs = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.S)
    assert len(programs) == 5
    names = {
        "ask_someone": lambda a, b: "a" if a.rewards[0] > b.rewards[0] else "b",
        "evaluate": lambda rows: rows / np.linalg.norm(rows, axis=1, keepdims=True),
    }
    for program in programs:
        exec(program, names)
    assert "certified" in capsys.readouterr().out
    assert (tmp_path / "runs/explored.jsonl").is_file()
