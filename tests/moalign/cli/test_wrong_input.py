"""Every kind of wrong input that a user will meet: a clear message, exit code 2, no stack trace, nothing half-written."""

import json
import os
import shutil
import subprocess
import sys

import pytest


@pytest.fixture
def train(tmp_path, tiny_base, reward, prompts_file, refused):
    """A training command that must be refused and leave no folder."""

    def call(*more, dataset=prompts_file, model=tiny_base):
        out = tmp_path / "runs" / "out"
        message = refused(
            *(
                "train",
                "clp",
                "--model",
                model,
                "--reward",
                reward,
                "--dataset",
                dataset,
                "--output_dir",
                out,
                "--use_cpu",
            ),
            *("--max_steps", 1, *more),
        )
        assert not (tmp_path / "runs").exists()
        return message

    return call


@pytest.fixture
def generate(bundle, refused):
    """Asking the bundle must be refused."""

    def call(*more, preference="helpful=1"):
        return refused("generate", bundle, "--prompt", "a", "--preference", preference, *more)

    return call


def broken_at_17(tmp_path, rows):
    path = tmp_path / "data.jsonl"
    lines = [json.dumps(rows(i)) for i in range(30)]
    lines[16] = lines[16][:-5]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_mistyped_yaml_key(train, tmp_path):
    (tmp_path / "x.yaml").write_text("seed: 1\nlearning_rat: 1e-4\n")
    message = train("--config", tmp_path / "x.yaml")
    assert "x.yaml:2: unknown field 'learning_rat': did you mean 'learning_rate'?" in message
    assert len(message) < 300


def test_a_yaml_value_of_the_wrong_type(train, tmp_path):
    (tmp_path / "x.yaml").write_text("seed: 1\n\nlora_r: many\n")
    assert "x.yaml:3: field 'lora_r': found 'many', expected an integer" in train("--config", tmp_path / "x.yaml")


def test_an_unknown_objective(generate, train):
    for message in (generate(preference="helpfull=1"), train("--preference", "helpfull=1")):
        assert "unknown objective 'helpfull': did you mean 'helpful'? Valid: helpful, brief, warm" in message


def test_weights_that_sum_to_nine_tenths(generate, train):
    for message in (generate(preference="helpful=0.6,brief=0.3"), train("--preference", "helpful=0.6,brief=0.3")):
        assert "must sum to 1, found 0.9" in message


def test_a_broken_line_17(train, refused, tmp_path, tiny_base):
    prompts = broken_at_17(tmp_path, lambda i: {"prompt": f"a {i}"})
    assert "data.jsonl:17: " in train(dataset=prompts)
    pairs = broken_at_17(
        tmp_path, lambda i: {"prompt": "a", "completion_a": "b", "completion_b": "c", "labels": {"helpful": "a"}}
    )
    out = tmp_path / "runs" / "reward"
    assert "data.jsonl:17: " in refused("reward", "--model", tiny_base, "--train_data", pairs, "--output_dir", out)
    assert not out.parent.exists()
    assert not list(tmp_path.glob("*.bad.*"))


def test_an_altered_adapter(generate, refused, bundle, reward, prompts_file, tmp_path):
    path = bundle / "brief" / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    messages = [
        generate(),
        refused("front", bundle, "--reward", reward, "--dataset", prompts_file),
        refused("export", bundle, "--preference", "brief=1", "--output_dir", tmp_path / "out"),
        refused(
            "train",
            "clp",
            "--model",
            bundle,
            "--reward",
            reward,
            "--dataset",
            prompts_file,
            "--output_dir",
            tmp_path / "out",
        ),
        refused("serve", bundle, "--port", 0),
    ]
    for message in messages:
        assert "file 'brief/adapter_model.safetensors' was altered after the bundle was saved: sha256 is" in message
    assert not (tmp_path / "out").exists()
    assert not (bundle / "front.json").exists()


def test_a_missing_base_model(generate, train, bundle, tmp_path, refused):
    shutil.rmtree(bundle.parent / "base")
    assert "cannot load the base model '../base'" in generate()
    assert "--base" in generate()
    refused("export", bundle, "--preference", "brief=1", "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "cannot load the base model" in train(model=bundle.parent / "base")


def test_a_base_model_that_is_not_the_bundles(generate, refused, bundle, tmp_path, tiny_base):
    import torch
    from transformers import AutoModelForCausalLM

    other = tmp_path / "other"
    shutil.copytree(tiny_base, other)
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.mul_(1.5)
    model.save_pretrained(other)
    assert f"{other} is not the base model of bundle {bundle}: the digest of its weights is" in generate(
        "--base", other
    )
    out = tmp_path / "out"
    refused("export", bundle, "--preference", "brief=1", "--output_dir", out, "--base", other)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "clp", "--config", "{yaml}"], "x.yaml:1: unknown field 'max_stepz': did you mean 'max_steps'?"),
        (["generate", "{bundle}", "--prompt", "a", "--preference", "brief=0.9"], "must sum to 1, found 0.9"),
        (["pick", "{bundle}", "--min", "helpful=0.3", "--maximize", "brief"], "has no measured front yet"),
    ],
)
def test_in_a_process_of_its_own(tmp_path, bundle, arguments, message):
    (tmp_path / "x.yaml").write_text("max_stepz: 3\n")
    before = sorted(p.name for p in tmp_path.iterdir())
    filled = [a.format(yaml=tmp_path / "x.yaml", bundle=bundle) for a in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "moalign", *filled],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("moalign: error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == before
