import json
import os

import pytest

from frontier.errors import InputError
from moalign.sweep.folder import JobFolder
from moalign.sweep.jobs import Job

JOB = Job("clp", "clp", {"beta": 0.1, "model": "m"}, {"seed": 0})
EVALUATION = {"dataset": "d"}


@pytest.fixture
def folder(tmp_path):
    folder = JobFolder.of(tmp_path, JOB)
    folder.write(JOB, EVALUATION)
    return folder


def test_says_what_the_job_is(folder, tmp_path):
    assert folder.path == tmp_path / "jobs" / "clp"
    assert folder.read() == {
        "job": {"method": "clp", "bundle": None, "settings": {"beta": 0.1, "model": "m"}},
        "label": "clp, seed 0",
        "axes": {"seed": 0},
        "evaluation": EVALUATION,
    }
    assert JobFolder(tmp_path / "none").read() is None


def test_its_settings_are_a_configuration_of_train(folder):
    from moalign.yaml_file import read_flat

    found = {name: entry.value for name, entry in read_flat(folder.config).items()}
    assert found == {"disable_tqdm": True, "beta": 0.1, "model": "m"}


@pytest.mark.parametrize("text", ["models/\N{ROCKET}", "ä\N{LINE SEPARATOR}\\u1F680", '"1e-4"', "1e-4"])
def test_texts_are_read_as_they_were(tmp_path, text):
    from moalign.yaml_file import read_flat

    job = Job("clp", "clp", {"model": text, "prompts": [text]}, {})
    folder = JobFolder.of(tmp_path, job)
    folder.write(job, None)
    found = read_flat(folder.config)
    assert (found["model"].value, found["prompts"].value) == (text, [text])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"beta": 0.2, "model": "m"},
            "was run with beta 0.1, now it is 0.2: name another output_dir, or pass --rerun_changed",
        ),
        ({"model": "m"}, "was run with beta 0.1, now it is not set"),
        ({"beta": 0.1, "model": "m", "lora_r": 4}, "was run with lora_r not set, now it is 4"),
    ],
)
def test_another_job_in_its_place_is_refused(folder, settings, message):
    folder.check_unchanged(JOB)
    with pytest.raises(InputError) as error:
        folder.check_unchanged(Job("clp", "clp", settings, {}))
    assert message in str(error.value)


def test_done_means_done_with_these_settings_and_this_evaluation(folder):
    assert not folder.finished(JOB, EVALUATION)
    folder.finish(JOB.identity(), EVALUATION, {"seconds": {}})
    assert folder.finished(JOB, EVALUATION)
    assert not folder.finished(JOB, {"dataset": "other"})
    assert not folder.finished(JOB, None)
    assert not folder.finished(Job("clp", "clp", {}, {}), EVALUATION)
    assert not folder.trained(JOB.identity())
    folder.mark_trained(JOB.identity())
    assert folder.trained(JOB.identity())
    folder.clear()
    assert not folder.path.exists()


def test_a_broken_file_is_named(folder):
    (folder.path / "result.json").write_text("{")
    with pytest.raises(InputError, match=r"result\.json: not valid JSON"):
        folder.finished(JOB, EVALUATION)


def test_last_words_are_the_error_of_the_last_attempt(folder):
    assert folder.last_words() == ""
    folder.begin_attempt(1)
    assert folder.last_words() == ""
    folder.log.write_text(
        "---- attempt 1\nmoalign: error: the first\n---- attempt 2\nmoalign: error: it broke\nbye\n\n"
    )
    assert folder.last_words() == "moalign: error: it broke"
    folder.begin_attempt(3)
    assert folder.last_words() == ""
    with folder.log.open("a") as log:
        log.write("Traceback\nValueError: no\n")
    assert folder.last_words() == "ValueError: no"


def test_progress_is_the_last_whole_line_of_the_newest_metrics(folder):
    assert folder.progress() == {}
    (folder.bundle / "runs" / "brief").mkdir(parents=True)
    old, new = folder.bundle / "metrics.jsonl", folder.bundle / "runs" / "brief" / "metrics.jsonl"
    old.write_text(json.dumps({"step": 9}) + "\n")
    os.utime(old, (1, 1))
    new.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert folder.progress() == {"step": 1, "loss": 2.0}
