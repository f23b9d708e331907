import sys

import pytest
import torch

from frontier.errors import InputError
from moalign.cli.sources import distinct_prompts, load_normalizer, load_reward, preferences_from_file


def test_a_reward_of_a_python_file(reward, reward_file):
    found = load_reward(reward)
    assert found.objectives == ("helpful", "brief", "warm")
    assert torch.equal(found.score(["x"], ["a good k"]), torch.tensor([[2.0, -3.0, 2.0]]))
    assert load_reward(f"{reward_file}:make").objectives == found.objectives


def test_a_reward_of_a_module_beside_the_user(tmp_path, monkeypatch):
    (tmp_path / "beside_me.py").write_text(
        "from reward_heads import FunctionReward\nreward = FunctionReward({'short': lambda p, c: -len(c)})\n"
        "class Made:\n    objectives = ('made',)\n    def score(self, prompts, completions): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert load_reward("beside_me:reward").objectives == ("short",)
    assert load_reward("beside_me:Made").objectives == ("made",)
    assert load_reward("beside_me:reward, beside_me:Made").objectives == ("short", "made")


def test_a_rule_becomes_the_objective_of_its_name(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def polite(prompt, completion, word='please'):\n    return float(word in completion)\n"
    )
    found = load_reward(f"reward_heads.rules:brevity,{tmp_path}/mine.py:polite")
    assert found.objectives == ("brevity", "polite")
    assert found.score(["x"], ["yes please"]).tolist() == [[-2.0, 1.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" ,", "expected a folder, FILE.py:NAME or MODULE:NAME"),
        ("{file}", "name what to take from the file"),
        ("{file}:rewrad", "unknown name in .*letters.py 'rewrad': did you mean 'reward'"),
        ("{file}:number", "is int, expected a VectorReward"),
        ("{file}:not_a_reward", "is function, expected a VectorReward"),
        ("nothing/here.py:reward", "no file nothing/here.py"),
        ("no_such_module_at_all:reward", "no module 'no_such_module_at_all'"),
        ("{file}:reward,{file}:make", "objective 'helpful' is in reward 0 and in reward 1"),
        ("./no/such/folder", "no model folder at ./no/such/folder"),
        (":x", "'' is no name of a module"),
        (".a:b", "'.a' is no name of a module"),
        ("builtins:max", "is builtin_function_or_method, expected a VectorReward"),
    ],
)
def test_refuses_rewards(reward_file, text, message):
    with pytest.raises(InputError, match=message):
        load_reward(text.format(file=reward_file))


def test_a_missing_folder_is_not_asked_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "reward").mkdir(parents=True)
    with pytest.raises(InputError, match=r"^reward: no such folder 'runs/rewrad': did you mean 'runs/reward'\?$"):
        load_reward("runs/rewrad")


def test_an_import_that_fails_inside_the_users_module_shows_itself(tmp_path):
    (tmp_path / "broken.py").write_text("import a_package_that_is_not_there\n")
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        load_reward(f"{tmp_path}/broken.py:reward")


def test_a_file_may_import_what_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "helper_beside.py").write_text("WORD = 'please'\n")
    (tmp_path / "rew.py").write_text(
        "from helper_beside import WORD\n\ndef polite(prompt, completion):\n    return float(WORD in completion)\n"
    )
    assert load_reward(f"{tmp_path}/rew.py:polite").score(["p"], ["please"]).tolist() == [[1.0]]


def test_distinct_prompts_are_spread_evenly():
    prompts = [str(i // 2) for i in range(22)]  # 11 different ones, twice each
    assert distinct_prompts(prompts, 3) == ["0", "5", "10"]
    assert distinct_prompts(prompts, 100) == [str(i) for i in range(11)]
    assert distinct_prompts(prompts, 1) == ["0"]
    chat = [[{"role": "user", "content": "a"}], [{"content": "a", "role": "user"}]]
    assert distinct_prompts(chat, 5) == [[{"role": "user", "content": "a"}]]
    with pytest.raises(InputError, match="at least 1, found 0"):
        distinct_prompts(prompts, 0)


def test_preferences_of_a_file(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text('# corners\nhelpful=1\n\n{"helpful": 0.5, "brief": 0.5}\n')
    assert [str(p) for p in preferences_from_file(str(path), ["helpful", "brief"])] == [
        "helpful=1.0",
        "helpful=0.5,brief=0.5",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("helpful=1\nhelpfull=1\n", r"p\.txt:2: unknown objective 'helpfull': did you mean 'helpful'"),
        ("helpful=0.9\n", r"p\.txt:1: preference weights must sum to 1"),
        ("direction:helpful=1\n", r"p\.txt:1: found a direction"),
        ("# none\n", r"p\.txt: no preferences"),
    ],
)
def test_refuses_preferences(tmp_path, text, message):
    (tmp_path / "p.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        preferences_from_file(str(tmp_path / "p.txt"), ["helpful", "brief"])


def test_the_normalizer_follows_the_objectives():
    document = {"objectives": ["a", "b"], "location": [1, 2], "scale": [3, 4], "n": 5, "source": ""}
    assert load_normalizer(document, ["b", "a"]).location == (2.0, 1.0)
    assert load_normalizer(None, ["a"]) is None
