import importlib
import subprocess
import sys

import pytest

from moalign.cli import VERBS, main

HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "numpy", "pandas", "matplotlib")


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True).stdout


def test_help_imports_nothing_heavy():
    out = run_python(
        "import sys; from moalign.cli import main; code = main(['--help']); "
        f"print('HEAVY', [m for m in {HEAVY} if m in sys.modules], code)"
    )
    assert "HEAVY [] 0" in out
    for verb in VERBS:
        assert f"  {verb}" in out


@pytest.mark.parametrize("verb", ["pick", "compare", "choose", "merge", "front", "generate", "export", "env"])
def test_the_help_of_our_own_verbs_imports_nothing_heavy(verb):
    out = run_python(
        f"import sys; from moalign.cli import main; main(['{verb}', '--help']); "
        "print('HEAVY', [m for m in ('torch', 'transformers', 'trl') if m in sys.modules])"
    )
    assert "HEAVY []" in out
    assert f"usage: moalign {verb}" in out


def test_importing_the_packages_is_light():
    assert run_python(f"import sys, moalign; print([m for m in {HEAVY} if m in sys.modules])") == "[]\n"


def test_names_of_the_package_load_on_first_use():
    import moalign

    for name in moalign.__all__:
        assert getattr(moalign, name) is not None
    assert set(moalign.__all__) <= set(dir(moalign))
    with pytest.raises(AttributeError, match="no attribute 'Steerablepolicy'"):
        moalign.Steerablepolicy


def test_every_verb_has_a_module():
    for verb in VERBS:
        assert importlib.util.find_spec(f"moalign.cli.verbs.{verb}") is not None


@pytest.mark.parametrize(
    ("verb", "part"),
    [
        ("reward", "calibrate"),
        ("groups", "--max_groups"),
        ("train", "rewarded_soups"),
        ("train", "clp"),
        ("demo", "--output_dir"),
        ("serve", "--port"),
    ],
)
def test_help_of_the_verbs_with_settings_of_others(moalign, verb, part):
    code, out, _ = moalign(verb, "--help")
    assert code == 0
    assert part in out


def test_help_of_a_method_shows_its_own_fields_and_counts_the_others(moalign):
    code, out, _ = moalign("train", "clp", "--help")
    assert code == 0
    assert out.index("--model") < out.index("--kl_mixing") < out.index("--max_steps")
    assert "--vllm_mode" not in out
    assert "--help-all lists them" in " ".join(out.split())
    assert "--vllm_mode" in moalign("train", "clp", "--help-all")[1]


def test_version(moalign):
    code, out, _ = moalign("--version")
    assert code == 0
    assert out.startswith("moalign 0.")


def test_without_arguments_it_shows_the_help_and_fails(moalign):
    code, out, err = moalign()
    assert (code, out) == (2, "")
    assert "usage: moalign VERB" in err


def test_unknown_names(refused):
    assert "unknown verb 'trian': did you mean 'train'?" in refused("trian")
    assert "unknown method 'cpl': did you mean 'clp'?" in refused("train", "cpl")
    assert "needs a method first: clp" in refused("train", "--model", "x")


def test_interrupted(monkeypatch, moalign):
    def interrupt(arguments):
        raise KeyboardInterrupt

    from moalign.cli.verbs import env

    monkeypatch.setattr(env, "run", interrupt)
    assert moalign("env") == (130, "", "moalign: interrupted\n")


def test_a_bug_shows_its_traceback(monkeypatch):
    from moalign.cli.verbs import env

    monkeypatch.setattr(env, "run", lambda arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["env"])


def test_verbose_is_not_an_option_of_the_verb(monkeypatch):
    from moalign.cli.verbs import env

    seen = []
    monkeypatch.setattr(env, "run", lambda arguments: seen.append(list(arguments)) or 0)
    assert main(["env", "--verbose", "--json"]) == 0
    assert seen == [["--json"]]


def test_a_reader_that_goes_away_is_no_error():
    command = f"{sys.executable} -m moalign --help-all | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300, check=True)
    assert done.stderr == ""


def test_the_docstring_is_true():
    import doctest

    import moalign.cli.values

    assert doctest.testmod(sys.modules["moalign"]).failed == 0
    assert doctest.testmod(moalign.cli.values).failed == 0
