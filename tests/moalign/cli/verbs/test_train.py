import json

import pytest

from moalign.bundle import read_manifest

QUICK = {
    "per_device_train_batch_size": 8,
    "num_generations": 2,
    "max_completion_length": 5,
    "normalizer_samples": 16,
    "lora_r": 2,
    "logging_steps": 1,
    "use_cpu": True,
    "seed": 3,
}


@pytest.fixture
def config(tmp_path, tiny_base, reward, prompts_file):
    """A YAML file that trains for a moment."""
    path = tmp_path / "quick.yaml"
    known = {"model": tiny_base.as_posix(), "reward": reward, "dataset": prompts_file.as_posix()} | QUICK
    path.write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in known.items()))
    return path


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_clp_leaves_a_whole_run_folder(moalign, config, tmp_path, reward):
    out = tmp_path / "runs" / "clp"
    code, text, err = moalign("train", "clp", "--config", config, "--output_dir", out, "--max_steps", 2)
    assert code == 0, err
    assert f"moalign front {out}" in text
    assert "Loading weights" not in err
    manifest = read_manifest(out)
    assert manifest.objectives == ("helpful", "brief", "warm")
    assert manifest.training["method"] == "clp"
    assert manifest.normalizer["objectives"] == ["helpful", "brief", "warm"]
    settings = json.loads((out / "config.json").read_text())
    assert settings["max_steps"] == 2  # the command line
    assert settings["lora_r"] == 2  # the file
    assert settings["concentration"] == 1.0  # a default
    assert settings["reward"] == reward
    assert settings["method"] == "clp"
    assert [line["step"] for line in metrics(out)][:2] == [1, 2]
    assert "# A steerable policy" in (out / "README.md").read_text()
    assert not list(out.rglob("*.bin"))
    assert not list(out.rglob("*.pkl"))


def test_goes_on_from_a_checkpoint_and_refuses_to_start_over(moalign, refused, config, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    call = ["train", "clp", "--config", config, "--save_steps", 1, "--lr_scheduler_type", "constant"]
    assert moalign(*call, "--output_dir", whole, "--max_steps", 2)[0] == 0
    assert moalign(*call, "--output_dir", parts, "--max_steps", 1)[0] == 0
    message = refused(*call, "--output_dir", parts, "--max_steps", 2)
    assert (
        "already holds a result (steer.json): name another folder, go on with --resume_from_checkpoint true" in message
    )
    assert moalign(*call, "--output_dir", parts, "--max_steps", 2, "--resume_from_checkpoint")[0] == 0
    first, second = read_manifest(whole).files, read_manifest(parts).files
    assert first == second
    assert len(first) == 6
    assert moalign(*call, "--output_dir", parts, "--max_steps", 1, "--overwrite_output_dir")[0] == 0


def test_a_bundle_is_trained_further_in_its_own_units(moalign, bundle, config, tmp_path):
    out = tmp_path / "further"
    call = ["train", "clp", "--config", config, "--model", bundle, "--output_dir", out, "--max_steps", 1]
    code, _, err = moalign(*call)
    assert code == 0, err
    assert read_manifest(out).normalizer == read_manifest(bundle).normalizer
    assert read_manifest(out).base == read_manifest(bundle).base.__class__(
        "../saved/base", read_manifest(bundle).base.digest, None
    )


def test_rewarded_soups_makes_one_bundle_of_its_runs(moalign, config, tmp_path):
    out = tmp_path / "soups"
    code, _, err = moalign("train", "rewarded-soups", "--config", config, "--output_dir", out, "--max_steps", 3)
    assert code == 0, err
    manifest = read_manifest(out)
    assert manifest.training["method"] == "rewarded_soups"
    assert manifest.objectives == ("helpful", "brief", "warm")
    assert {line["objective"] for line in metrics(out)} == set(manifest.objectives)
    assert sorted(p.name for p in (out / "runs").iterdir()) == sorted(manifest.objectives)
    settings = json.loads((out / "config.json").read_text())
    assert (settings["method"], settings["max_steps"], settings["output_dir"]) == ("rewarded_soups", 3, str(out))
    assert (out / "README.md").is_file()


def test_refuses_and_leaves_nothing(refused, config, tmp_path, tiny_base):
    out = tmp_path / "runs" / "refused"

    def call(*more):
        message = refused("train", "clp", "--config", config, "--output_dir", out, "--max_steps", 1, *more)
        assert not (tmp_path / "runs").exists()
        return message

    (tmp_path / "constant.py").write_text(
        "from reward_heads import FunctionReward\n"
        "reward = FunctionReward({'helpful': lambda p, c: 1.0, 'brief': lambda p, c: -len(c)})\n"
        "huge = FunctionReward({'brief': lambda p, c: -len(c), 'odd': lambda p, c: float('inf')})\n"
        "named = FunctionReward({'a b': lambda p, c: 1.0})\n"
    )
    reward = f"{tmp_path}/constant.py:"
    assert "unknown objective 'helpfull': did you mean 'helpful'" in call("--preference", "helpfull=1")
    assert "weights must sum to 1, found 0.9" in call("--preference", "helpful=0.9")
    assert "constant has no scale" in call("--reward", reward + "reward")
    assert "objective 'odd'" in call("--reward", reward + "huge")
    assert "'a b' cannot name an adapter" in call("--reward", reward + "named")
    assert "no model" in call("--reward", "./no/reward")
    assert "cannot load the base model" in call("--model", "./no/base")
    assert "num_generations" in call("--num_generations", 3)  # does not divide the batch: the trainer's own refusal
    assert "no checkpoint to go on from" in call("--resume_from_checkpoint")
    assert "./nothing is no checkpoint; checkpoints in" in call("--resume_from_checkpoint", "./nothing")


def test_soups_are_resumed_run_by_run(refused, config, tmp_path):
    call = ["train", "rewarded_soups", "--config", config, "--output_dir", tmp_path / "x", "--resume_from_checkpoint"]
    assert "runs holds no checkpoint to go on from" in refused(*call)
    assert "several runs in a row, each with checkpoints of its own" in refused(*call, tmp_path / "x")
