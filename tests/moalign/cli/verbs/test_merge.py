import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from frontier.realize.merging import MergeConfig
from frontier.realize.merging.methods import METHODS
from frontier.realize.merging.plan import check_parameters
from moalign.cli.verbs.merge import COMMAND

EXAMPLE = Path(__file__).resolve().parents[4] / "examples" / "merge.yaml"


@pytest.fixture
def recipe(tiny_base, plain_adapters, tmp_path):
    path = tmp_path / "merge.yaml"
    path.write_text(f"""
merge_method: task_arithmetic
base_model: {tiny_base}
models:
  - model: {tiny_base}+{plain_adapters["helpful"]}
    parameters: {{weight: 0.6}}
  - model: {plain_adapters["brief"]}
    parameters: {{weight: 0.4}}
parameters: {{int8_mask: true}}
""")
    return path


def test_a_soup_of_adapters_is_a_model(moalign, recipe, tiny_base, tmp_path):
    out = tmp_path / "out"
    code, text, err = moalign("merge", "--config", recipe, "--output_dir", out, "--seed", 3, "--workers", 1)
    assert code == 0
    assert "Merging: 100%" in err
    assert "note: int8_mask has no effect" in text
    assert f"task_arithmetic of 3 models is in {out}: " in text
    assert AutoTokenizer.from_pretrained(out)("a good day")["input_ids"]
    model = AutoModelForCausalLM.from_pretrained(out)
    base = load_file(tiny_base / "model.safetensors")
    assert any(not torch.equal(tensor, base[name]) for name, tensor in load_file(out / "model.safetensors").items())
    assert model.config.vocab_size == base["model.embed_tokens.weight"].shape[0]


def test_the_file_may_stand_without_its_flag(moalign, recipe, tmp_path):
    assert moalign("merge", recipe, "--output_dir", tmp_path / "a")[0] == 0
    assert moalign("merge", f"--config={recipe}", "--output_dir", tmp_path / "b")[0] == 0
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_refuses(refused, recipe, tmp_path):
    out = tmp_path / "out"
    call = ["merge", "--config", recipe, "--output_dir", out]
    assert "needs RECIPE" in refused("merge", "--output_dir", out)
    assert "needs --output_dir" in refused("merge", "--config", recipe)
    assert "no such file" in refused("merge", "--config", tmp_path / "nothing.yaml", "--output_dir", out)
    assert "unknown option '--sede': did you mean '--seed'" in refused(*call, "--sede", 1)
    assert "device 'cuad' is not available" in refused(*call, "--device", "cuad")
    recipe.write_text(recipe.read_text().replace("weight", "wieght"))
    assert "unknown parameter of merge_method task_arithmetic" in refused(*call)
    recipe.write_text("merge_methd: linear")
    error = refused(*call)
    assert f"{recipe}: unknown key of the merge configuration 'merge_methd': did you mean 'merge_method'?" in error
    assert not out.exists()


def test_a_result_is_replaced_only_if_asked(moalign, refused, recipe, tmp_path):
    call = ["merge", recipe, "--output_dir", tmp_path / "out"]
    assert moalign(*call)[0] == 0
    assert "already holds a result" in refused(*call)
    assert moalign(*call, "--overwrite_output_dir")[0] == 0


def test_the_help_imports_nothing_heavy():
    code = (
        "import sys; from moalign.cli import main; main(['merge', '--help']); "
        "print('HEAVY', [m for m in ('torch', 'transformers', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert "usage: moalign merge RECIPE --output_dir TEXT" in done.stdout
    assert "HEAVY []" in done.stdout
    assert COMMAND.name == "merge"


def test_the_example_is_valid():
    config = MergeConfig.read(EXAMPLE)
    method = METHODS[config.method]
    assert check_parameters(config, method) == []
    assert config.text.startswith(f"# moalign merge --config examples/{EXAMPLE.name} --output_dir merged\n")
    listed = next(line for line in config.text.splitlines() if line.startswith("# linear, "))
    assert set(listed.removeprefix("# ").replace(", ...", "").split(", ")) <= set(METHODS)
