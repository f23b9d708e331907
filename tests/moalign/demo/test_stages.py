import json
import math

import pytest

from frontier import pick
from frontier.errors import InputError
from frontier.front import FrontPoint, ParetoFront
from moalign.demo import stages
from moalign.demo.stages import (
    Sweep,
    compare_samples,
    compare_soup,
    five_preferences,
    front_figures,
    perplexity_figures,
    print_summary,
    steer_and_measure,
    three_picks,
    write_front,
    write_summary,
)
from moalign.methods.clp import CLPConfig
from moalign.policy import SteerablePolicy
from moalign.preference import Preference
from moalign.preference_sampling import lattice
from reward_heads import FunctionReward

NAMES = ("helpful", "brief", "warm", "safe")
TWO = NAMES[:2]


def front_of(named, reference=(0, 0), objectives=TWO, perplexities=None):
    """A front from {weights: rewards}."""
    perplexities = perplexities or [4.0] * (len(named) + 1)

    def point(rewards, weights, perplexity):
        preference = {"weights": dict(zip(objectives, weights, strict=True))} if weights else None
        extra = {"perplexity_under_reference": perplexity, "sample": "a text"}
        return FrontPoint(rewards, (0.1,) * len(rewards), 16, preference, kl=0.5, source="test", extra=extra)

    points = [point(r, w, p) for (w, r), p in zip(named.items(), perplexities, strict=False)]
    return ParetoFront(objectives, points, point(reference, None, perplexities[-1]))


STEERED = {(1, 0): (1, 0), (0.5, 0.5): (0.75, 0.5), (0, 1): (0, 1)}
# The soup's middle point sinks, and its corner lies below the steerable one.
SOUP = {(1, 0): (0.5, 0), (0.5, 0.5): (0, 0.25), (0, 1): (0, 1)}


# ---- preferences and picks


def test_five_preferences_by_hand():
    three = [str(p) for p in five_preferences(NAMES[:3])]
    third = 1 / 3
    assert three == [
        *("helpful=1.0", "brief=1.0", "warm=1.0"),
        f"helpful={third},brief={third},warm={third}",
        "helpful=0.5,brief=0.5",
    ]
    assert [str(p) for p in five_preferences(TWO)] == [
        *("helpful=1.0", "brief=1.0", "helpful=0.5,brief=0.5"),
        *("helpful=0.75,brief=0.25", "helpful=0.25,brief=0.75"),
    ]


@pytest.mark.parametrize("k", [2, 3, 4])
def test_five_preferences_differ(k):
    found = five_preferences(NAMES[:k])
    assert len(found) == len(set(found)) == 5
    assert Preference.uniform(NAMES[:k]) in found


def test_a_single_objective_has_one_preference():
    assert five_preferences(["helpful"]) == [Preference.only("helpful")]


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_three_picks_of_any_number_of_objectives(k):
    objectives = NAMES[:k]
    weights = [tuple(p.as_tensor(objectives).tolist()) for p in lattice(objectives, 3)]
    # On a sphere: concave, so that every lattice point is on the front and the middle ones are knees.
    front = front_of({w: tuple(x**0.5 for x in w) for w in weights}, (0,) * k, objectives)
    picks = three_picks(front)
    assert len(picks) == 3
    for selection in picks.values():
        assert selection.point == front.points[selection.index]
        assert selection.reason
    assert picks["knee"] == pick(front, knee=True)


def test_three_picks_by_hand():
    front = front_of({(1, 0): (1, 0), (0.75, 0.25): (0.9, 0.4), (0.5, 0.5): (0.8, 0.6), (0, 1): (0, 1)})
    picks = three_picks(front)
    assert list(picks) == ["knee", "helpful, brief ≥ 0.5", "near 3/4 of all"]
    assert picks["helpful, brief ≥ 0.5"].point.rewards == (0.8, 0.6)
    assert picks["helpful, brief ≥ 0.5"].feasible
    # Aspiring to (0.75, 0.75): (0.8, 0.6) lacks 0.15 of brief, (0.9, 0.4) lacks 0.35.
    assert picks["near 3/4 of all"].point.rewards == (0.8, 0.6)
    assert picks["near 3/4 of all"].violations == {"brief": pytest.approx(0.15)}


# ---- figures


def test_front_figures_by_hand():
    figures = front_figures(front_of(STEERED), (-0.1, -0.1))
    assert figures["steering"] == {"helpful": pytest.approx(1), "brief": pytest.approx(1)}
    # Three boxes from the left: to 0 the height 1.1, to 0.75 the height 0.6, to 1 the height 0.1.
    assert figures["hypervolume"] == {
        "steerable": pytest.approx(0.1 * 1.1 + 0.75 * 0.6 + 0.25 * 0.1),
        "reference": pytest.approx(0.1 * 0.1),
        "reference_point": [-0.1, -0.1],
        "n_prompts": 16,
    }
    assert figures["eum"] == pytest.approx((1 + 0.625 + 1) / 3)
    assert figures["mip"] == pytest.approx((1 + 0.625 + 1) / 3)
    assert figures["controllability_gap"] == 0


def test_the_reference_policy_counts_in_the_reference_point():
    figures = front_figures(front_of(STEERED, reference=(-1, 0.5)))
    assert figures["hypervolume"]["reference_point"] == pytest.approx([-1.2, -0.1])
    assert figures["hypervolume"]["reference"] == pytest.approx(0.2 * 0.6)


def test_what_steers_the_wrong_way_shows():
    figures = front_figures(front_of({(1, 0): (0, 1), (0.5, 0.5): (0.75, 0.5), (0, 1): (1, 0)}))
    assert figures["steering"] == {"helpful": pytest.approx(-1), "brief": pytest.approx(-1)}
    assert figures["mip"] == pytest.approx(0.625 / 3)
    assert figures["controllability_gap"] == pytest.approx(2 / 3)


def test_soup_and_steerable_share_one_reference_point():
    figures = compare_soup(front_of(STEERED), front_of(SOUP, reference=(-1, 0)))
    volume = figures["hypervolume"]
    place = volume["reference_point"]
    assert place == pytest.approx([-1.2, -0.1])  # ranges over both: helpful -1 to 1, brief 0 to 1
    assert volume["steerable"] == pytest.approx(1.2 * 1.1 + 0.75 * 0.6 + 0.25 * 0.1)
    assert volume["soup"] == pytest.approx(1.2 * 1.1 + 0.5 * 0.1)
    assert volume["reference"] == pytest.approx(1.2 * 0.1)  # the steerable run's own reference policy, at (0, 0)
    assert figures["soup"]["mip"] == pytest.approx((0.5 + 0.125 + 1) / 3)
    assert figures["soup"]["eum"] == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert figures["soup"]["steering"]["brief"] == pytest.approx(1)
    assert figures["eum"] == pytest.approx((1 + 0.625 + 1) / 3)  # still the steerable policy's


def test_perplexity_by_hand():
    figures = perplexity_figures(front_of(STEERED, perplexities=[2.0, 4.0, 8.0, 5.0]))
    assert figures["reference"] == 5
    assert figures["steered_mean"] == pytest.approx(4)  # geometric
    assert figures["steered_max"] == 8
    assert figures["ratio"] == pytest.approx(0.8)
    assert "under the reference model" in figures["how"]


# ---- with a policy


@pytest.fixture(scope="module")
def policy(tiny_base, plain_adapters):
    return SteerablePolicy.from_pretrained(tiny_base, adapters={n: plain_adapters[n] for n in TWO}, device="cpu")


def test_samples_answer_one_prompt_greedily(policy):
    found = compare_samples(policy, "a b", max_new_tokens=5)
    assert [s["preference"] for s in found] == ["reference", *map(str, five_preferences(TWO))]
    for sample in found:
        preference = None if sample["preference"] == "reference" else sample["preference"]
        alone = policy.generate(["a b"], preference, do_sample=False, max_new_tokens=5)[0]
        assert sample == {"preference": sample["preference"], "prompt": "a b", "completion": alone.strip()}
    assert len({s["completion"] for s in found}) > 1


def test_front_is_left_in_the_bundle(policy, tmp_path):
    policy.save_pretrained(tmp_path)
    front = front_of(STEERED)
    write_front(tmp_path, front, three_picks(front), "A title")
    assert ParetoFront.load(tmp_path / "front.json") == front
    assert (tmp_path / "front.png").read_bytes()[:4] == b"\x89PNG"
    page = (tmp_path / "front.html").read_text()
    assert "A title" in page
    assert "near 3/4 of all" in page
    card = (tmp_path / "README.md").read_text()
    assert front.table() in card
    assert "steerable" in card
    assert SteerablePolicy.from_pretrained(tmp_path).objectives == TWO


REWARD = FunctionReward(
    {
        "helpful": lambda prompt, completion: float(sum(word in "aeiou" for word in completion.split())),
        "brief": lambda prompt, completion: -float(len(completion.split())),
    }
)


def settings(folder):
    return CLPConfig(
        output_dir=str(folder),
        max_steps=2,
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=6,
        lora_r=2,
        normalizer_samples=32,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )


PROMPTS = ["a b", "c d e", "f", "g h ? i"]


def test_all_stages_on_two_objectives(tiny_base, tmp_path, capsys):
    """Without true rewards the figures are those of the rewards that were trained on."""
    sweep = Sweep(PROMPTS, partitions=2, samples_per_prompt=2, max_new_tokens=6)
    folder = tmp_path / "policy"
    summary = steer_and_measure(
        str(tiny_base), REWARD, PROMPTS, settings(folder), sweep, soup_config=settings(tmp_path / "soup")
    )
    front, soup = (ParetoFront.load(tmp_path / name / "front.json") for name in ("policy", "soup"))
    assert "learned" not in summary
    assert summary["objectives"] == list(TWO)
    assert summary["mip"] == front.mip()
    assert summary["soup"]["mip"] == soup.mip()
    assert [p.source for p in front.points] == ["steerable"] * 3
    assert {p.source for p in soup.points} == {"soup"}
    # One reference policy, one normaliser, one seed: both sweeps measure the same reference.
    assert front.reference_policy.rewards == soup.reference_policy.rewards
    assert front.normalizer == soup.normalizer == summary["normalizer"]
    assert summary["perplexity"]["reference"] == front.reference_policy.extra["perplexity_under_reference"]
    assert set(summary["seconds_by_stage"]) == {"train", "front", "train_soup"}
    assert len(summary["samples"]) == 6
    for name, chosen in summary["picks"].items():
        assert chosen["reason"], name
        assert chosen["rewards"] in [dict(zip(TWO, p.rewards, strict=True)) for p in front.points]
    assert (folder / "compare.png").is_file()
    assert (folder / "compare.html").is_file()
    for bundle in ("policy", "soup"):
        assert SteerablePolicy.from_pretrained(tmp_path / bundle).objectives == TWO
    write_summary(tmp_path, summary)
    assert set(json.loads((tmp_path / "summary.json").read_text())) == set(summary)
    capsys.readouterr()
    print_summary(summary)
    assert "Hypervolume: steerable" in capsys.readouterr().out


def test_figures_are_in_units_of_the_truth_where_it_is_known(tiny_base, tmp_path):
    inverted = FunctionReward({n: lambda p, c, f=f: -3 * f(p, c) for n, f in REWARD.functions.items()})
    sweep = Sweep(PROMPTS, partitions=2, max_new_tokens=6)
    summary = steer_and_measure(str(tiny_base), REWARD, PROMPTS, settings(tmp_path), sweep, truth=inverted)
    # The truth is the learned reward upside down, on its own scale: normalised, one is minus the other but for the sampled normaliser.
    for name in TWO:
        assert summary["steering"][name] == pytest.approx(-summary["learned"]["steering"][name])
    assert summary["learned"]["mip"] == ParetoFront.load(tmp_path / "front.json").mip()
    info = ParetoFront.load(tmp_path / "front.json").info["normalizer/true"]
    assert info["scale"] == pytest.approx([3 * s for s in summary["normalizer"]["scale"]], rel=1e-4)


# ---- the summary


SUMMARY = {
    "samples": [
        {"preference": "reference", "prompt": "Hi\nthere", "completion": "plain"},
        {"preference": "helpful=1.0", "prompt": "Hi\nthere", "completion": "steered"},
    ],
    "picks": {
        "knee": {
            "preference": {"weights": {"helpful": 0.25, "brief": 0.75}},
            "rewards": {"helpful": 1.234, "brief": -0.5},
            "standard_error": {"helpful": 0.1, "brief": math.nan},
            "reason": "",
        }
    },
    "steering": {"helpful": 0.9876, "brief": math.nan},
    "hypervolume": {"steerable": 2.0, "reference": 0.5, "reference_point": [0.0, 0.0], "n_prompts": 8},
    "eum": 1.0,
    "mip": 0.5,
    "controllability_gap": 0.5,
    "perplexity": {"steered_mean": 3.0, "reference": 2.5},
}


def test_summary_for_a_terminal():
    lines = []
    print_summary(SUMMARY, lines.append)
    text = "\n".join(lines)
    assert text.count(r"'Hi\nthere'") == 1  # the prompt once, above its answers
    assert "helpful 1 | steered" in text
    assert "knee: weights helpful=0.25, brief=0.75; expected rewards helpful 1.23 ± 0.10, brief -0.50 ± nan" in text
    assert "helpful 0.988, brief nan" in text
    assert "Hypervolume: steerable 2, reference 0.5" in lines[-2]
    assert "EUM 1.000, MIP 0.500, controllability gap 0.500" in lines[-1]
    assert "3.00 (its own texts 2.50)" in lines[-1]
    assert "true rewards" not in text


def test_summary_says_which_rewards_judge():
    lines = []
    learned = {name: SUMMARY[name] for name in ("steering", "mip", "controllability_gap")}
    print_summary(SUMMARY | {"learned": learned | {"hypervolume": {"steerable": 7.0}, "eum": 9.0}}, lines.append)
    text = "\n".join(lines)
    pictured, true = text.split("By the true rewards:")
    assert "which the pictures show" in pictured
    assert "Hypervolume: steerable 7\n" in pictured
    assert "EUM 9.000" in pictured
    assert "Hypervolume: steerable 2, reference 0.5" in true
    assert "EUM 1.000" in true


def test_summary_is_json_without_nan(tmp_path):
    write_summary(tmp_path, SUMMARY)
    content = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
    assert content["steering"] == {"helpful": 0.9876, "brief": None}
    assert content["picks"]["knee"]["standard_error"]["brief"] is None
    assert content["samples"] == SUMMARY["samples"]


def test_sweep_needs_two_prompts(policy):
    with pytest.raises(InputError, match="at least 2 prompts"):
        Sweep(["a"]).measure(policy, REWARD, None, None, "x")


def test_progress_reaches_a_pipe_at_once(capsys):
    stages.say("1/4 ...")
    assert capsys.readouterr().out == "1/4 ...\n"
