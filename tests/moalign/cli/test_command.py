from dataclasses import dataclass, field

import pytest

from frontier.errors import InputError
from moalign.cli.command import Command, about, parse


@dataclass
class Own:
    """The verb's own options."""

    bundle: str = field(metadata=about("The bundle.", positional=True))
    model: str = field(metadata=about("The model."))
    prompt: list[str] | None = field(default=None, metadata=about("Prompts.", repeat=True))
    compare: list[str] | None = field(default=None, metadata=about("Others."))
    min: dict[str, float] | None = field(default=None, metadata=about("Constraints."))
    knee: bool = field(default=False, metadata=about("The knee."))
    resume: bool | str | None = field(default=None, metadata=about("Resume."))


@dataclass
class Settings:
    """A trainer's settings."""

    model: str = "mine"
    max_steps: int = -1
    learning_rate: float = field(default=1e-3, metadata={"help": "Speed."})
    order: str = field(default="random", metadata={"choices": ["random", "sequential"]})
    derived: int = field(init=False, default=0)

    def __post_init__(self):
        if self.learning_rate <= 0:
            raise ValueError("learning_rate must be\n   positive")


COMMAND = Command("try", "Try things.", (Own, Settings))


def given(*arguments):
    values = parse(COMMAND, arguments)
    assert values is not None
    return values.given


BASE = ("runs/x", "--model", "m")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--max_steps", "3"], {"max_steps": 3}),
        (["--max-steps=3"], {"max_steps": 3}),
        (["--max_steps", "-1"], {"max_steps": -1}),
        (["--max_steps", "3", "--max_steps", "4"], {"max_steps": 4}),
        (["--knee"], {"knee": True}),
        (["--knee", "no"], {"knee": False}),
        (["--knee=false"], {"knee": False}),
        (["--resume"], {"resume": True}),
        (["--resume", "true"], {"resume": True}),
        (["--resume", "runs/checkpoint-5", "--knee"], {"resume": "runs/checkpoint-5", "knee": True}),
        (["--prompt", "a, b", "--prompt=c"], {"prompt": ["a, b", "c"]}),
        (["--compare", "a,b", "--compare", "c"], {"compare": ["a", "b", "c"]}),
        (["--min", "safety=0.3", "--min", "brief=1"], {"min": {"safety": 0.3, "brief": 1.0}}),
    ],
)
def test_the_command_line(arguments, expected):
    assert given(*BASE, *arguments) == {"bundle": "runs/x", "model": "m"} | expected


def test_a_flag_before_the_positional_does_not_swallow_it():
    assert given("--knee", "runs/x", "--model", "m") == {"knee": True, "bundle": "runs/x", "model": "m"}


def test_a_positional_may_be_named_and_follow_two_dashes():
    assert given("--bundle", "runs/x", "--model", "m")["bundle"] == "runs/x"
    assert given("--model", "m", "--", "--odd")["bundle"] == "--odd"


def test_the_command_line_wins_over_the_file(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("model: from-file\nmax_steps: 10\nlearning-rate: 1e-4\ncompare: [a]\nprompt: one\nknee: no\n")
    assert given("runs/x", "--config", path.as_posix(), "--max_steps", "20", "--compare", "b") == {
        "bundle": "runs/x",
        "model": "from-file",
        "max_steps": 20,
        "learning_rate": 1e-4,
        "compare": ["b"],
        "prompt": ["one"],
        "knee": False,
    }


def test_builds_each_section_from_what_was_given():
    values = parse(COMMAND, [*BASE, "--max_steps", "3"])
    assert values.build(Own) == Own("runs/x", "m")
    assert values.build(Settings, model="fixed") == Settings(model="fixed", max_steps=3)


def test_what_a_section_refuses_is_wrong_input():
    values = parse(COMMAND, [*BASE, "--learning_rate", "-1"])
    with pytest.raises(InputError, match=r"^Settings: learning_rate must be positive$"):
        values.build(Settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max_stepz", "3"], "unknown option '--max_stepz': did you mean '--max_steps'? Valid: --bundle"),
        (["--max_step", "3"], "unknown option '--max_step': did you mean '--max_steps'?"),  # no abbreviations
        (["-k"], "unknown option '-k'"),
        (["--derived", "3"], "unknown option '--derived'"),
        (["--max_steps"], "--max_steps needs a value: an integer"),
        (["--max_steps", "--knee"], "--max_steps needs a value: an integer"),
        (["--max_steps", "many"], "--max_steps: found 'many', expected an integer"),
        (["--knee=perhaps"], "--knee: found 'perhaps', expected true or false"),
        (["--order", "randon"], "--order: found 'randon', expected one of random, sequential; did you mean 'random'?"),
        (["--compare", "a", "b"], "unexpected argument 'b'"),
        (["--config"], "--config needs a value"),
    ],
)
def test_refuses_on_the_command_line(arguments, message):
    with pytest.raises(InputError) as error:
        parse(COMMAND, [*BASE, *arguments])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\n\nmax_stepz: 3\n", "unknown field 'seed'"),
        ("model: m\nmax_stepz: 3\n", "x.yaml:2: unknown field 'max_stepz': did you mean 'max_steps'? Valid: bundle"),
        ("max_steps: many\n", "x.yaml:1: field 'max_steps': found 'many', expected an integer"),
        ("model: m\nmin: 3\n", "x.yaml:2: field 'min': found 3, expected values by name"),
        ("order: up\n", "x.yaml:1: field 'order': found 'up', expected one of random, sequential"),
    ],
)
def test_refuses_in_the_file(tmp_path, text, message):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        parse(COMMAND, [*BASE, "--config", str(path)])
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_names_everything_that_is_missing():
    with pytest.raises(InputError, match=r"^moalign try needs BUNDLE \(The bundle\), --model \(The model\)"):
        parse(COMMAND, [])


def test_only_one_that_is_missing_is_told_at_length(monkeypatch):
    @dataclass
    class Long:
        model: str = field(metadata={"help": "The base model (a folder), or a bundle. It is read."})
        data: str = field(metadata={"help": "Prompts: any records."})

    command = Command("try", "Try.", (Long,))
    with pytest.raises(InputError, match=r"^moalign try needs --model \(The base model\), --data \(Prompts\)\. See"):
        parse(command, [])
    with pytest.raises(InputError, match=r"^moalign try needs --data \(Prompts: any records\)\. See"):
        parse(command, ["--model", "x"])


def test_help_works_whatever_else_is_wrong(capsys):
    assert parse(COMMAND, ["--nonsense", "--help-all"]) is None
    page = capsys.readouterr().out
    assert "usage: moalign try BUNDLE --model TEXT" in page
    assert "--derived" not in page
    assert "One of random, sequential." in page


def test_many_options_are_not_listed_in_a_message():
    many = type("Many", (), {"__annotations__": {f"field_{i}": int for i in range(50)}})
    for i in range(50):
        setattr(many, f"field_{i}", 0)
    with pytest.raises(InputError, match=r"did you mean '--field_7'\? `moalign big --help-all` lists all 51") as error:
        parse(Command("big", "", (dataclass(many),)), ["--feild_7", "1"])
    assert len(str(error.value)) < 120
