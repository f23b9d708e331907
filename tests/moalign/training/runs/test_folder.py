import json
import math

import pytest
import torch
from transformers import ProgressCallback, Trainer, TrainerControl, TrainerState, TrainingArguments

from frontier import atomic
from moalign.training.runs.folder import MetricsFile, QuietProgress, finite, watch, write_config


@pytest.fixture
def run(tmp_path):
    """Drive the callback as a trainer does: a list of (step, logs), from a step on; gives the lines in the file."""

    def call(*logged, start=0, main=True):
        args = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True)
        state, control, callback = (
            TrainerState(global_step=start, is_world_process_zero=main),
            TrainerControl(),
            MetricsFile(),
        )
        callback.on_train_begin(args, state, control)
        for step, logs in logged:
            state.global_step = step
            callback.on_log(args, state, control, logs=logs)
        path = tmp_path / "metrics.jsonl"
        return [json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines()]

    return call


def test_one_line_per_log(run):
    assert run((1, {"loss": 0.5}), (2, {"loss": 0.25, "kl": 1})) == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 0.25, "kl": 1},
    ]


def test_numbers_that_are_not_finite_become_null(run):
    logs = {"loss": math.nan, "grad_norm": math.inf, "kl": -math.inf, "text": "NaN", "flag": True, "count": 3}
    assert run((1, logs)) == [
        {"step": 1, "loss": None, "grad_norm": None, "kl": None, "text": "NaN", "flag": True, "count": 3}
    ]


def test_a_resumed_run_drops_the_lines_that_it_will_write_again(run):
    run((1, {"loss": 1.0}), (2, {"loss": 2.0}), (3, {"loss": 3.0}))
    lines = run((3, {"loss": 3.5}), (4, {"loss": 4.0}), start=2)
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1.0), (2, 2.0), (3, 3.5), (4, 4.0)]


def test_a_fresh_run_starts_an_empty_file(run):
    run((1, {"loss": 1.0}), (2, {"loss": 2.0}))
    assert run() == []


@pytest.mark.parametrize("cut", ["{", '{"step": 3, "lo', '{"step": 3, "loss": 3.'])
def test_a_line_that_a_kill_cut_short_does_not_stop_the_resumed_run(run, tmp_path, cut):
    run((1, {"loss": 1.0}), (2, {"loss": 2.0}))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(cut)
    assert [line["step"] for line in run((3, {"loss": 3.0}), start=2)] == [1, 2, 3]


def test_only_the_main_process_writes(run, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 7}\n')
    assert run((8, {"loss": 1.0}), main=False) == [{"step": 7}]


def test_empty_logs_leave_no_line(run):
    assert run((1, {}), (2, None)) == []


def test_finite_reaches_into_what_is_nested():
    value = {"a": [1.0, math.nan, (math.inf, "x")], "b": {"c": -math.inf, "d": None}, "e": 0.0}
    assert finite(value) == {"a": [1.0, None, [None, "x"]], "b": {"c": None, "d": None}, "e": 0.0}


def test_config_is_readable_json_of_everything(tmp_path):
    write_config(tmp_path / "new" / "run", {"beta": 0.05, "output_dir": tmp_path, "dtype": torch.float32})
    text = (tmp_path / "new" / "run" / "config.json").read_text()
    assert json.loads(text) == {"beta": 0.05, "output_dir": str(tmp_path), "dtype": "torch.float32"}
    assert text.index("beta") < text.index("dtype") < text.index("output_dir")  # sorted: two runs compare line by line


def test_config_of_real_arguments_round_trips(tmp_path):
    args = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True, learning_rate=3e-4)
    write_config(tmp_path, args.to_dict())
    content = json.loads((tmp_path / "config.json").read_text(), parse_constant=pytest.fail)
    assert content["learning_rate"] == 3e-4


def test_config_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    write_config(tmp_path, {"a": 1})

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(atomic.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_config(tmp_path, {"a": 2})
    assert json.loads((tmp_path / "config.json").read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def trainer(tmp_path, **changes):
    args = TrainingArguments(output_dir=str(tmp_path), report_to=[], use_cpu=True, save_strategy="no", **changes)
    return Trainer(model=torch.nn.Linear(1, 1), args=args)


def kinds(watched):
    return [type(callback) for callback in watched.callback_handler.callbacks]


def test_watch_swaps_the_progress_bar_for_the_quiet_one(tmp_path):
    watched = trainer(tmp_path, disable_tqdm=False)
    watch(watched)
    assert MetricsFile in kinds(watched)
    assert QuietProgress in kinds(watched)
    assert ProgressCallback not in kinds(watched)


def test_watch_adds_no_bar_where_none_is_wanted(tmp_path):
    watched = trainer(tmp_path, disable_tqdm=True)
    watch(watched)
    assert MetricsFile in kinds(watched)
    assert QuietProgress not in kinds(watched)


def test_the_quiet_bar_shows_the_figures_that_fit_one_line(capsys):
    shown = []
    callback = QuietProgress()
    callback.training_bar = type("Bar", (), {"set_postfix": lambda self, figures: shown.append(figures)})()
    state = TrainerState(is_world_process_zero=True)
    callback.on_log(None, state, None, logs={"loss": 0.12345, "kl": 2.0, "learning_rate": 0.1, "reward": "none"})
    callback.on_log(None, state, None, logs={"learning_rate": 0.1})
    assert shown == [{"loss": "0.123", "kl": "2"}]
    assert capsys.readouterr().out == ""
