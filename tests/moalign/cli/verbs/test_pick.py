import json
import logging

import pytest

from frontier.front import ParetoFront
from frontier.prompt_rewards import PromptRewards


def test_under_a_constraint(moalign, front_of_three):
    code, out, err = moalign("pick", front_of_three, "--min", "brief=0.5", "--maximize", "helpful")
    assert (code, err) == (0, "")
    assert "preference: helpful=0.5,brief=0.5" in out
    assert "helpful  weight 0.500   reward 0.800 ± 0.020" in out
    assert "brief    weight 0.500   reward 0.700 ± 0.030" in out
    assert "64 prompts, KL 0.500 nats" in out
    assert "moalign generate" in out


def test_json_says_the_same(moalign, front_of_three):
    code, out, _ = moalign("pick", front_of_three, "--min", "brief=0.5", "--maximize", "helpful", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["preference"] == {"weights": {"helpful": 0.5, "brief": 0.5}}
    assert answer["rewards"] == {"helpful": 0.8, "brief": 0.7}
    assert answer["standard_error"] == {"helpful": 0.02, "brief": 0.03}
    assert answer["index"] == 1
    assert answer["feasible"] is True


def test_nothing_satisfies_the_constraints(moalign, front_of_three):
    code, out, err = moalign("pick", front_of_three, "--min", "brief=0.9,helpful=0.9", "--maximize", "helpful")
    assert (code, err) == (3, "")
    assert "No point satisfies helpful >= 0.9 and brief >= 0.9. Point 1 comes nearest" in out
    assert "preference: helpful=0.5,brief=0.5" in out


@pytest.mark.parametrize(
    ("arguments", "index"),
    [
        (["--knee"], 1),
        (["--aspire", "helpful=0.1,brief=1.0"], 0),
        (["--aspire", "helpful=5,brief=-3"], 2),  # out of reach is no failure of an aspiration
        (["--maximize", "brief"], 0),
        (["--maximize", "helpful=10,brief=0.1"], 2),
        (["--max", "helpful=0.9", "--maximize", "helpful"], 1),
        (["--min", "brief=0.65", "--maximize", "helpful", "--confidence", "0.99"], 0),
        (["--compromise"], 1),
        (["--compromise", "helpful=10,brief=1"], 2),
        (["--compromise", "helpful=2,brief=1", "--p", "inf"], 1),
        (["--pseudo-weights", "brief=1"], 0),
        (["--pseudo_weights", "helpful=0.5,brief=0.5"], 1),
    ],
)
def test_ways_to_choose(moalign, front_of_three, arguments, index):
    code, out, _ = moalign("pick", front_of_three, *arguments, "--json")
    assert (code, json.loads(out)["index"]) == (0, index)


def test_a_front_of_another_place(moalign, front_of_three, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    code, out, _ = moalign("pick", tmp_path / "elsewhere", "--front", front_of_three / "front.json", "--knee")
    assert code == 0
    assert "is the knee" in out


def test_unknown_standard_errors_are_null(moalign, front_of_three):
    path = front_of_three / "front.json"
    path.write_text(path.read_text().replace("0.03", "null"))
    assert json.loads(moalign("pick", front_of_three, "--knee", "--json")[1])["standard_error"]["brief"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to pick by: --maximize OBJECTIVE"),
        (["--min", "helpfull=1"], "unknown objective 'helpfull': did you mean 'helpful'?"),
        (["--min", "helpful"], "--min: found 'helpful', expected values by name"),
        (["--knee", "--maximize", "helpful"], "choose one way"),
        (["--knee", "--compromise"], "choose one way"),
        (["--knee", "--p", "2"], "p is the norm of compromise, which is not given"),
        (["--compromise", "helpfull=1"], "did you mean 'helpful'"),
        (["--pseudo-weights", "helpful=0"], "helpful"),
        (["--maximize", "helpful=x"], "--maximize: found 'helpful=x', expected an objective, or values by name"),
        (["--maximise", "helpful"], "unknown option '--maximise': did you mean '--maximize'?"),
    ],
)
def test_refuses(refused, front_of_three, arguments, message):
    assert message in refused("pick", front_of_three, *arguments)


def test_needs_no_samples(moalign, tmp_path):
    samples = PromptRewards(("helpful", "brief"), [[[0, 1], [1, 2]], [[2, 0], [3, 0]]], ("x", "y"))
    ParetoFront.of_prompt_rewards(samples).save(tmp_path / "front.json")
    (tmp_path / "front.prompts.safetensors").unlink()
    code, out, err = moalign("pick", tmp_path, "--maximize", "helpful", "--json")
    assert (code, err, json.loads(out)["index"]) == (0, "", 1)


def test_no_front_yet(refused, bundle, tmp_path):
    assert "this bundle has no measured front yet; run `moalign front" in refused("pick", bundle, "--knee")
    assert "this folder has no measured front yet" in refused("pick", tmp_path, "--knee")
    assert "nowhere: no such folder" in refused("pick", "nowhere", "--knee")


def test_says_when_the_bundle_was_trained_again(moalign, bundle, front_of_three):
    front = ParetoFront.load(front_of_three / "front.json")
    front.info["adapters_sha256"] = "of other adapters"
    front.save(bundle / "front.json")
    code, _, err = moalign("pick", bundle, "--knee")
    assert code == 0
    assert "moalign: warning:" in err
    assert "was measured on other adapters" in err
    assert logging.getLogger("moalign").handlers == []
