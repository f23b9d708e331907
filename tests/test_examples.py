"""Every file in examples/ is what its first lines say: configurations parse against their classes, scripts run."""

import importlib.util
from pathlib import Path

import pytest

from moalign.cli.methods import METHODS

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
# `merge.yaml` has the shape of mergekit, not that of an options file, the others are no method's; their verbs' tests read them.
CONFIGS = sorted(p for p in EXAMPLES.glob("*.yaml") if p.stem not in ("merge", "serve", "soup", "sweep"))


def command_for(path):
    """`reward.yaml` belongs to `moalign reward train`, `METHOD.yaml` and `METHOD_*.yaml` to `moalign train METHOD`."""
    from moalign.cli.reward import train as reward
    from moalign.cli.verbs import train

    if path.stem.startswith("reward") and not path.stem.startswith("rewarded"):
        return reward.command()
    return train.command(next(name for name in METHODS if path.stem.startswith(name)))


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_are_examples():
    assert {path.stem for path in CONFIGS} >= {"clp", "modpo", "dpa", "maxmin", "lagrangian", "reward"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_is_valid(path, tmp_path):
    from moalign.cli.command import parse
    from moalign.yaml_file import read_flat

    command = command_for(path)
    values = parse(command, ["--config", str(path), "--use_cpu"])
    first, *_, last = command.sections
    own, settings = (values.build(section, output_dir=str(tmp_path / "run")) for section in (first, last))
    entries = read_flat(path)
    for name, entry in entries.items():
        holder = own if hasattr(own, name) else settings
        if isinstance(entry.value, int | float) and name != "output_dir":
            assert getattr(holder, name) == entry.value, name
    assert path.read_text().startswith(f"# moalign {command.name} --config examples/{path.name}\n")
    assert not (tmp_path / "run").exists()


def test_the_custom_reward_is_loaded_as_its_docstring_says():
    from moalign.cli.sources import load_reward

    reward = load_reward(f"{EXAMPLES / 'my_rewards.py'}:reward")
    assert reward.objectives == ("helpful", "brief", "polite")
    scores = reward.score(["When does my parcel arrive?", "Hm?"], ["Your parcel will arrive today, thanks.", "Sorry?"])
    # "when", "does", "parcel", "arrive" are the longer words; the second prompt has none.
    assert scores[0].tolist() == [0.5, -6.0, 1.0]
    assert scores[1].isnan().tolist() == [True, False, False]
    assert scores[1, 2] == 1.0


def test_plain_peft_adapters(tiny_base, plain_adapters, tmp_path, capsys):
    from moalign import SteerablePolicy

    pairs = [f"{name}={folder}" for name, folder in plain_adapters.items()]
    answers = load("plain_peft_adapters").main(
        [str(tiny_base), *pairs, "--prompt", "a b", "--out", str(tmp_path / "mixed")]
    )
    out = capsys.readouterr().out
    assert len(answers) == 7  # three corners, three edges, the middle
    assert "[helpful=1.0,brief=0.0,warm=0.0] " in out
    assert "under the base model" in out
    assert SteerablePolicy.from_pretrained(tmp_path / "mixed").objectives == tuple(plain_adapters)


def test_a_method_of_your_own_in_the_oracle(capsys):
    load("your_method").main(["--updates", "25"])
    lines = capsys.readouterr().out.splitlines()
    gains = [float(line.split(": ")[1].split()[0]) for line in lines if line.endswith("of the possible gain")]
    assert len(gains) == 3
    assert all(0.1 < gain <= 1 for gain in gains)  # it learns within a few updates, and nothing beats the optimum


def test_what_one_person_wants(capsys):
    known = load("whose_preference").main(["--people", "40", "--questions", "8"])
    out = capsys.readouterr().out
    assert "before any question: after 0 pairs" in out
    assert max(known, key=known.get) == "warm"  # the newcomer's true weights are 0.15, 0.65, 0.2
    assert sum(known.values()) == pytest.approx(1)


def test_no_folder_is_taken_for_a_library():
    """Python puts the folder of a program first: trl asks for the version of a `vllm` that lies there, and falls over."""
    names = {path.name for path in EXAMPLES.iterdir() if path.is_dir()} - {"__pycache__"}
    assert not names & {"vllm", "trl", "peft", "torch", "transformers", "datasets", "accelerate"}
