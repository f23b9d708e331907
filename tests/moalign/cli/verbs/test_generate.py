import json

import pytest


def rows(out):
    return [json.loads(line) for line in out.splitlines()]


def test_each_prompt_at_each_preference(moalign, bundle):
    code, out, err = moalign(
        *("generate", bundle, "--prompt", "a b", "--prompt", "good , bad", "--max_new_tokens", 6, "--reference"),
        *("--preference", "helpful=1", "--preference", "helpful=0.5,warm=0.5"),
    )
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "> a b"
    assert lines[1].startswith("[helpful=1.0] ")
    assert lines[2].startswith("[helpful=0.5,warm=0.5] ")
    assert lines[3].startswith("[reference policy] ")
    assert lines[5] == "> good , bad"
    assert len(lines) == 9


def test_answers_are_those_of_the_policy_whatever_the_batch(moalign, bundle):
    from moalign.policy import SteerablePolicy

    arguments = ["generate", bundle, "--json", "--prompt", "a b", "--max_new_tokens", 6, "--temperature", 0]
    arguments += ["--preference", "helpful=1", "--preference", "brief=1", "--reference"]
    _, out, _ = moalign(*arguments)
    assert rows(moalign(*arguments, "--batch_size", 1)[1]) == rows(out)
    policy = SteerablePolicy.from_pretrained(bundle)
    own = policy.generate(["a b"] * 3, ["helpful=1", "brief=1", None], max_new_tokens=6, do_sample=False)
    assert [row["completion"] for row in rows(out)] == own
    assert [row["preference"] for row in rows(out)] == [
        {"weights": {"helpful": 1.0}},
        {"weights": {"brief": 1.0}},
        None,
    ]
    assert len(set(own)) > 1  # the adapters do something


def test_the_same_seed_gives_the_same_answers(moalign, bundle):
    call = ["generate", bundle, "--prompt", "c d", "--max_new_tokens", 12, "--preference", "warm=1"]
    first = moalign(*call, "--seed", 1)[1]
    assert moalign(*call, "--seed", 1)[1] == first
    assert moalign(*call, "--seed", 2)[1] != first


def test_prompts_of_a_file_at_the_default_preference(moalign, bundle, prompts_file):
    code, out, _ = moalign("generate", bundle, "--prompts_file", prompts_file, "--json", "--max_new_tokens", 2)
    assert code == 0
    assert [row["prompt"] for row in rows(out)][:2] == ["a x", "a y"]
    assert len(rows(out)) == 12
    assert rows(out)[0]["preference"]["weights"] == pytest.approx({"helpful": 1 / 3, "brief": 1 / 3, "warm": 1 / 3})


def test_chat_goes_through_the_template(moalign, bundle):
    call = ["generate", bundle, "--prompt", "a b", "--json", "--temperature", 0, "--max_new_tokens", 3]
    chat = rows(moalign(*call, "--chat")[1])[0]
    assert chat["prompt"] == [{"role": "user", "content": "a b"}]


def test_says_what_an_empty_answer_may_come_from(moalign, bundle, monkeypatch):
    from moalign.policy import SteerablePolicy

    monkeypatch.setattr(SteerablePolicy, "generate", lambda self, prompts, *_, **__: [" "] * len(prompts))
    assert "--chat" in moalign("generate", bundle, "--prompt", "a b")[2]
    assert moalign("generate", bundle, "--prompt", "a b", "--chat")[2] == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to answer: give --prompt TEXT or --prompts_file FILE"),
        (["--prompt", "a", "--preference", "helpfull=1"], "unknown objective 'helpfull': did you mean 'helpful'?"),
        (["--prompt", "a", "--preference", "helpful=0.9"], "preference weights must sum to 1, found 0.9"),
        (["--prompt", "a", "--max_new_tokens", "0"], "max_new_tokens must be at least 1, found 0"),
        (["--prompt", "a", "--top_p", "0"], "top_p in (0, 1]"),
    ],
)
def test_refuses(refused, bundle, arguments, message):
    assert message in refused("generate", bundle, *arguments)
