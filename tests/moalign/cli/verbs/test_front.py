import json
import shutil

import numpy as np
import pytest

from frontier.compare import compare_fronts
from frontier.front import ParetoFront
from frontier.prompt_rewards import PromptRewards
from moalign.cli.verbs.front import _write, figures

QUICK = ("--partitions", 1, "--n_prompts", 4, "--max_new_tokens", 5)


def front_of(seed, weights=((1, 0), (0, 1))):
    values = np.random.default_rng(seed).normal(size=(len(weights), 20, 2))
    return ParetoFront.of_prompt_rewards(
        PromptRewards(("helpful", "brief"), values, tuple(map(str, range(20)))), weights
    )


@pytest.fixture
def measure(moalign, bundle, reward, prompts_file):
    def call(*more):
        return moalign("front", bundle, "--reward", reward, "--dataset", prompts_file, *QUICK, *more)

    return call


def test_writes_everything_and_prints_the_figures(measure, bundle):
    code, out, err = measure()
    assert code == 0
    assert "Traceback" not in err
    front = ParetoFront.load(bundle / "front.json")
    assert front.objectives == ("helpful", "brief", "warm")
    assert front.points[0].preference["weights"] == {"helpful": 0.0, "brief": 0.0, "warm": 1.0}
    assert len(front.points) == 3
    assert front.reference_policy.n_prompts == 4
    assert front.normalizer["source"] == "a test"
    assert front.points[0].source == "clp"
    assert (bundle / "front.png").read_bytes()[:4] == b"\x89PNG"
    assert "<!doctype html>" in (bundle / "front.html").read_text()[:200]
    assert front.table() in out
    place = ", ".join(
        f"{n} {v:.3f}" for n, v in zip(front.objectives, front.hypervolume().reference_point, strict=True)
    )
    assert f"hypervolume above {place}:" in out
    assert f"bundle            {front.hypervolume().value:.4f}" in out
    assert "no intervals for bundle: at least 10 prompts are needed to tell how sure a figure is, found 4" in out
    assert (bundle / "front.prompts.safetensors").exists()
    assert front.prompt_rewards.rewards.shape == (3, 4, 3)
    assert f"Written: {bundle}/front.json, front.prompts.safetensors, front.png, front.html" in out
    assert "reference policy  " in out
    assert f"EUM {front.eum():.4f}" in out
    assert f"MIP {front.mip():.4f}" in out
    assert f"difference {front.controllability_gap():.4f}" in out


def test_figures_get_intervals_over_the_prompts(measure, bundle):
    from frontier.compare import compare_fronts

    _, out, _ = measure("--n_prompts", 12)
    front = ParetoFront.load(bundle / "front.json")
    found = compare_fronts({"bundle": front}, resamples=1000)
    place = [line for line in out.splitlines() if line.startswith("  bundle  ")]
    for name, line in (("hypervolume", place[0]), ("eum", out), ("mip", out)):
        estimate = found[name].estimates["bundle"]
        assert f"{found[name].values['bundle']:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]" in line
    assert "[low, high]: 95 % interval over prompts" in out


def test_the_model_card_gets_the_front(measure, bundle):
    before = (bundle / "README.md").read_text()
    assert "Measured front" not in before
    measure()
    card = (bundle / "README.md").read_text()
    assert "## Measured front" in card
    assert ParetoFront.load(bundle / "front.json").table() in card


def test_another_folder_leaves_the_bundle_alone(measure, bundle, tmp_path):
    before = sorted(p.name for p in bundle.iterdir())
    code, _, _ = measure("--output_dir", tmp_path / "there", "--seed", 5, "--temperature", 0)
    assert code == 0
    assert sorted(p.name for p in bundle.iterdir()) == before
    front = ParetoFront.load(tmp_path / "there" / "front.json")
    assert front.info["seed"] == 5
    assert front.info["temperature"] == 0


def test_pick_reads_what_front_wrote(measure, moalign, bundle):
    measure()
    code, out, err = moalign("pick", bundle, "--maximize", "brief", "--json")
    assert (code, err) == (0, "")  # no warning that the adapters changed
    front = ParetoFront.load(bundle / "front.json")
    assert json.loads(out)["rewards"]["brief"] == max(p.rewards[1] for p in front.points)


def test_preferences_of_a_file_and_a_comparison(measure, bundle, tmp_path):
    from moalign.policy import SteerablePolicy

    # The same adapters in another order: the same policy, whose front has to come out in the first bundle's order.
    policy = SteerablePolicy.from_pretrained(bundle)
    names = ["warm", "helpful", "brief"]
    adapters = {name: bundle / name for name in names}
    SteerablePolicy.from_pretrained(bundle.parent / "base", adapters=adapters).save_pretrained(
        tmp_path / "saved" / "other"
    )
    (tmp_path / "p.txt").write_text("helpful=1\nhelpful=0.5,brief=0.5\n")
    code, out, _ = measure(
        "--preferences", tmp_path / "p.txt", "--compare", tmp_path / "saved" / "other", "--temperature", 0
    )
    assert code == 0
    own, other = ParetoFront.load(bundle / "front.json"), ParetoFront.load(bundle / "front-other.json")
    assert other.objectives == own.objectives == tuple(policy.objectives)
    assert len(own.points) == 2
    assert other.rewards == pytest.approx(own.rewards)
    assert other.prompt_rewards.prompts == own.prompt_rewards.prompts
    assert other.prompt_rewards.rewards == pytest.approx(own.prompt_rewards.rewards)
    assert "other: EUM" in out
    assert f"The front of other: {bundle}/front-other.json, front-other.prompts.safetensors" in out


def test_bundles_of_one_name_have_files_of_their_own(tmp_path):
    fronts = {label: front_of(i) for i, label in enumerate(["own", "a/policy", "b/policy", "policy-2", "c/Policy"])}
    names = _write(tmp_path, fronts, bundle=tmp_path / "elsewhere", manifest=None)
    assert list(names) == ["a/policy", "b/policy", "policy-2", "c/Policy"]
    assert len({name.lower() for name in names.values()}) == 4
    assert names["a/policy"] == "front-policy.json"
    for label, name in names.items():
        assert ParetoFront.load(tmp_path / name) == fronts[label]


def test_value_and_interval_are_over_the_same_weights():
    """A file of preferences may repeat one; the figure and its interval count it once."""
    front = front_of(0, [(1, 0), (0, 1), (1, 0)])
    found = compare_fronts({"x": front}, resamples=1000)
    lines = figures({"x": front})
    for name, title in (("eum", "EUM"), ("mip", "MIP")):
        estimate = found[name].estimates["x"]
        assert f"{title} {found[name].values['x']:.4f} [{estimate.low:.4f}, {estimate.high:.4f}]" in lines
    assert f"{found['mip'].values['x']:.4f}" != f"{front.mip():.4f}"
    assert f"difference {found['controllability_gap'].values['x']:.4f}" in lines


def test_a_reward_with_more_objectives_in_another_order(moalign, bundle, prompts_file, tmp_path):
    (tmp_path / "r.py").write_text(
        "from reward_heads import FunctionReward\n"
        "f = lambda p, c: float(len(c))\n"
        "reward = FunctionReward({'extra': f, 'warm': lambda p, c: 7.0, 'brief': f, 'helpful': f})\n"
    )
    code, _, _ = moalign("front", bundle, "--reward", f"{tmp_path}/r.py:reward", "--dataset", prompts_file, *QUICK)
    assert code == 0
    front = ParetoFront.load(bundle / "front.json")
    assert [p.rewards[2] for p in front.points] == pytest.approx([(7.0 - 0.5) / 3.0] * 3)


def test_refuses(refused, bundle, reward, prompts_file, tmp_path):
    def call(*more, reward=reward, dataset=prompts_file, path=bundle):
        return refused("front", path, "--reward", reward, "--dataset", dataset, *more)

    (tmp_path / "one.txt").write_text("a\na\n")
    (tmp_path / "r.py").write_text(
        "from reward_heads import FunctionReward\nreward = FunctionReward({'helpful': lambda p, c: 0.0})\n"
    )
    (tmp_path / "p.txt").write_text("helpful=0.9\n")
    assert "unknown objective 'brief'" in call(reward=f"{tmp_path}/r.py:reward")
    assert "at least 2 different prompts for its standard errors, found 1" in call(dataset=tmp_path / "one.txt")
    assert "no/prompts.jsonl" in call(dataset="no/prompts.jsonl")
    assert "p.txt:1: preference weights must sum to 1, found 0.9" in call("--preferences", tmp_path / "p.txt")
    assert "partitions must be at least 1, found 0" in call("--partitions", 0)
    assert "n_prompts must be at least 2" in call("--n_prompts", 1)
    assert "temperature must not be negative" in call("--temperature", -1)
    assert "is named twice" in call("--compare", bundle)
    assert "is no bundle: it has no steer.json" in call(path=tmp_path)
    assert not (bundle / "front.json").exists()


def test_only_the_same_objectives_compare(refused, bundle, reward, prompts_file, tmp_path):
    shutil.copytree(bundle, tmp_path / "other")
    path = tmp_path / "other" / "steer.json"
    content = json.loads(path.read_text())
    content["objectives"] = content["objectives"][:2]
    path.write_text(json.dumps(content))
    message = refused("front", bundle, "--reward", reward, "--dataset", prompts_file, "--compare", tmp_path / "other")
    assert "only fronts over the same objectives compare" in message
