import io
import json
import re

import pytest

from frontier.front import FrontPoint, ParetoFront
from frontier.prompt_rewards import PromptRewards

KEPT = ["is my answer", "in short", "well ,"]


@pytest.fixture
def front_of_nine(tmp_path):
    """A quarter of a circle over helpful and brief, in units of its own."""
    points = []
    for i in range(9):
        w = i / 8
        rewards = (10 * (1 - (1 - w) ** 2) ** 0.5, -3 + (1 - w**2) ** 0.5)
        sample = {"sample": KEPT[i % 3]}
        points.append(
            FrontPoint(rewards, (0.2, float("nan")), 64, {"weights": {"helpful": w, "brief": 1 - w}}, extra=sample)
        )
    ParetoFront(("helpful", "brief"), tuple(points)).save(tmp_path / "nine" / "front.json")
    return tmp_path / "nine"


def shown(text):
    """The (helpful, brief) rewards of all points shown, in order."""
    pattern = r"[ab]\) helpful (-?[\d.]+)(?: ± [\d.]+)?, brief (-?[\d.]+)"
    return [(float(h), float(b)) for h, b in re.findall(pattern, text)]


def answers_of(moalign, folder, prefer, *arguments):
    """Answer one question more at a time, as somebody would who types."""
    given = []
    for _ in range(20):
        extra = ["--answers", ",".join(given)] if given else ["--answers", "="]
        code, out, err = moalign("choose", folder, "--json", *arguments, *extra)
        assert code == 0
        seen = shown(err)
        if len(seen) // 2 <= len(given):
            return given, json.loads(out)
        first, second = seen[2 * len(given) : 2 * len(given) + 2]
        given.append("a" if prefer(first) > prefer(second) else "b")
    raise AssertionError("it never stops")


@pytest.mark.parametrize(("favoured", "column"), [("helpful", 0), ("brief", 1)])
def test_finds_what_somebody_wants(moalign, front_of_nine, favoured, column):
    given, answer = answers_of(moalign, front_of_nine, lambda point: point[column])
    front = ParetoFront.load(front_of_nine / "front.json")
    column_values = front.rewards[:, column]
    assert column_values[answer["index"]] >= column_values.max() - 0.05 * (column_values.max() - column_values.min())
    assert answer["questions"] == len(given) <= 12
    assert answer["preference"] == front.points[answer["index"]].preference
    assert answer["weights"][favoured]["mean"] > 0.6
    assert (
        answer["weights"][favoured]["low"] <= answer["weights"][favoured]["mean"] <= answer["weights"][favoured]["high"]
    )
    assert 0 <= answer["regret"] < 0.1
    assert answer["standard_error"] == {"helpful": 0.2, "brief": None}


def test_the_text_says_what_to_paste(moalign, front_of_nine):
    code, out, err = moalign("choose", front_of_nine, "--answers", "a,=,b")
    assert (code, err) == (0, "")
    assert "1. Which do you like better?" in out
    assert "4. Which do you like better?" in out  # shown, but the answers were used up
    assert "After 3 answers: point" in out
    preference = re.search(r"preference: (\S+)", out).group(1)
    assert f"moalign generate {front_of_nine} --preference {preference} --prompt TEXT" in out
    assert any(text in out for text in KEPT)  # what was kept when the front was measured


def test_reads_a_pipe(moalign, front_of_nine, monkeypatch):
    _, expected, _ = moalign("choose", front_of_nine, "--answers", "a,b,=")
    for end in ("", "q\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO("a\n B \n=\n" + end))
        code, out, _ = moalign("choose", front_of_nine)
        assert code == 0
        assert out.split("After ")[1] == expected.split("After ")[1]


def test_goes_on_where_it_was(moalign, front_of_nine, tmp_path):
    state = tmp_path / "talk.json"
    whole = moalign("choose", front_of_nine, "--answers", "a,b,=,a", "--json")[1]
    moalign("choose", front_of_nine, "--answers", "a,b", "--save", state)
    assert moalign("choose", front_of_nine, "--resume", state, "--answers", "=,a", "--json")[1] == whole
    longer = moalign("choose", front_of_nine, "--resume", state, "--max_questions", 3, "--answers", "=,a,a", "--json")[
        1
    ]
    assert json.loads(longer)["questions"] == 3


def test_completions_of_a_prompt(moalign, bundle, tmp_path):
    values = [(0.0, (0.1, 1.0, 0.5)), (0.5, (0.8, 0.7, 0.4)), (1.0, (1.0, 0.0, 0.6))]
    points = [FrontPoint(r, (0.1,) * 3, 8, {"weights": {"helpful": w, "brief": 1 - w}}) for w, r in values]
    ParetoFront(("helpful", "brief", "warm"), tuple(points)).save(bundle / "front.json")
    arguments = ["choose", bundle, "--prompt", "a b", "--max_new_tokens", 6, "--temperature", 0, "--answers", "a"]
    code, out, _ = moalign(*arguments)
    assert code == 0
    from moalign.policy import SteerablePolicy

    policy = SteerablePolicy.from_pretrained(bundle)
    texts = policy.generate(["a b"] * 3, [p.preference for p in points], max_new_tokens=6, do_sample=False)
    assert sum(f"\n     {text.strip()}\n" in out for text in set(texts)) >= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--answers", "a,c"], "--answers: found 'c', allowed: a, b, = (can't tell)"),
        (["--max_questions", "0"], "max_questions must be from 1 to 200, found 0"),
        (["--regret", "2"], "regret must be a number from 0 to below 1"),
        (["--model", "quadratic"], "--model: found 'quadratic'"),
        (["--temperature", "-1"], "temperature at least 0"),
        (["--resume", "nowhere.json"], "nowhere.json: cannot be read"),
    ],
)
def test_refuses(refused, front_of_nine, arguments, message):
    assert message in refused("choose", front_of_nine, *arguments)


def test_refuses_states_of_others(refused, moalign, front_of_nine, front_of_three, tmp_path):
    state = tmp_path / "talk.json"
    moalign("choose", front_of_nine, "--answers", "a", "--save", state)
    assert "is a conversation about another front" in refused("choose", front_of_three, "--resume", state)
    state.write_text("{}")
    assert "must have schema 'frontier.Elicitation'" in refused("choose", front_of_nine, "--resume", state)


def test_refuses_a_wrong_line_of_a_pipe(refused, front_of_nine, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("maybe\n"))
    assert "answer: found 'maybe', allowed: a, b, = (can't tell)" in refused("choose", front_of_nine, "--json")


def test_needs_no_samples(moalign, tmp_path):
    samples = PromptRewards(("helpful", "brief"), [[[0, 1], [1, 2]], [[2, 0], [3, 0]]], ("x", "y"))
    ParetoFront.of_prompt_rewards(samples).save(tmp_path / "front.json")
    (tmp_path / "front.prompts.safetensors").unlink()
    code, out, err = moalign("choose", tmp_path, "--answers", "a")
    assert (code, err) == (0, "")
    assert "After 1 answer: point" in out


def test_no_front_yet(refused, bundle):
    assert "this bundle has no measured front yet" in refused("choose", bundle)


def test_a_prompt_needs_preferences(refused, tmp_path):
    points = tuple(FrontPoint(r, (0.1, 0.1), 8) for r in [(0, 1), (1, 0)])
    ParetoFront(("helpful", "brief"), points).save(tmp_path / "front.json")
    assert "point 0 has none" in refused("choose", tmp_path, "--prompt", "a", "--answers", "a")


def test_what_is_not_known_is_not_printed(moalign, front_of_nine):
    out = moalign("choose", front_of_nine, "--answers", "a,b")[1]
    assert "nan" not in out
    assert re.search(r"helpful +reward [\d.]+ ± 0.200   counts", out)
    assert re.search(r"brief +reward -?[\d.]+   counts", out)


def test_answers_that_were_not_needed_are_counted(moalign, front_of_nine):
    code, out, err = moalign("choose", front_of_nine, "--max_questions", 2, "--answers", "a,b,a,=,b")
    assert code == 0
    assert err == "--answers: the last 3 of 5 were not needed\n"
    assert "After 2 answers:" in out
    assert "After 1 answer:" in moalign("choose", front_of_nine, "--max_questions", 1, "--answers", "a")[1]


@pytest.mark.parametrize("typed", ["", "q\n"])
def test_a_conversation_without_an_answer_is_saved_too(moalign, front_of_nine, tmp_path, monkeypatch, typed):
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    state = tmp_path / "talk.json"
    assert moalign("choose", front_of_nine, "--save", state, "--seed", 4)[0] == 0
    assert json.loads(state.read_text())["history"] == []
    assert json.loads(state.read_text())["settings"]["seed"] == 4
    assert moalign("choose", front_of_nine, "--resume", state, "--answers", "a")[0] == 0


def test_a_folder_cannot_be_saved_to(refused, front_of_nine, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)  # nobody is asked
    error = refused("choose", front_of_nine, "--save", tmp_path)
    assert f"--save: {tmp_path} cannot be written" in error
    assert "Which do you like better" not in error
