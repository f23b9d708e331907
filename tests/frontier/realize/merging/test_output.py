import errno
import os
import signal
import threading

import pytest
import torch
from safetensors.torch import load_file

from frontier.errors import InputError
from frontier.realize.merging.output import (
    Layer,
    ModelWriter,
    copy_companions,
    full_disk_is_told,
    merged_config,
    termination_cleans_up,
)
from frontier.realize.merging.tensor_files import Layout

LAYOUTS = {name: Layout((4,), torch.float32) for name in "abc"}


def test_one_file_has_no_index(tmp_path):
    writer = ModelWriter(tmp_path, LAYOUTS, 48)
    for name in LAYOUTS:
        writer.write(name, 0, torch.ones(4))
    writer.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert writer.n_shards == 1


def test_shards_and_their_index(tmp_path):
    import json

    writer = ModelWriter(tmp_path, LAYOUTS, 32)
    for i, name in enumerate(LAYOUTS):
        writer.write(name, 0, torch.full((4,), float(i)))
    writer.finish()
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 48
    assert index["weight_map"] == {
        "a": "model-00001-of-00002.safetensors",
        "b": "model-00001-of-00002.safetensors",
        "c": "model-00002-of-00002.safetensors",
    }
    assert load_file(tmp_path / index["weight_map"]["b"])["b"].tolist() == [1.0] * 4


CONFIG = {"dtype": "float32", "num_hidden_layers": 3, "layer_types": ["x", "y", "z"], "tie_word_embeddings": True}


def test_the_configuration_says_what_changed():
    assert merged_config(CONFIG, ["w"], None, None) == CONFIG
    assert merged_config(CONFIG, ["w"], torch.bfloat16, None)["dtype"] == "bfloat16"
    assert merged_config({"torch_dtype": "float32"}, ["w"], torch.float16, None) == {"torch_dtype": "float16"}
    assert merged_config(CONFIG, ["lm_head.weight"], None, None)["tie_word_embeddings"] is False
    assert merged_config({}, ["lm_head.weight"], None, None) == {"tie_word_embeddings": False}
    assert "tie_word_embeddings" not in merged_config({}, ["w"], None, None)
    cut = merged_config(CONFIG, ["w"], None, [Layer("m", CONFIG, i) for i in (0, 1, 1, 2)])
    assert (cut["num_hidden_layers"], cut["layer_types"]) == (4, ["x", "y", "y", "z"])
    inner = {"text_config": dict(CONFIG)}
    nested = merged_config(inner, ["lm_head.weight"], torch.float16, [Layer("m", inner, 2)])["text_config"]
    assert nested == {"dtype": "float16", "num_hidden_layers": 1, "layer_types": ["z"], "tie_word_embeddings": False}
    assert CONFIG["num_hidden_layers"] == 3


def test_each_layer_keeps_the_type_that_its_own_model_gives_it():
    taller = {"num_hidden_layers": 5, "text_config": {"layer_types": list("abcde")}}
    made = merged_config(CONFIG, ["w"], None, [Layer("m", CONFIG, 2), Layer("t", taller, 0), Layer("t", taller, 4)])
    assert (made["num_hidden_layers"], made["layer_types"]) == (3, ["z", "a", "e"])
    made = merged_config({"num_hidden_layers": 3}, ["w"], None, [Layer("m", CONFIG, 1)])
    assert made == {"num_hidden_layers": 1, "layer_types": ["y"]}
    with pytest.raises(InputError, match=r"model old: its config\.json names layer_types of 0 layers, and layer 1 is"):
        merged_config(CONFIG, ["w"], None, [Layer("m", CONFIG, 0), Layer("old", {"num_hidden_layers": 3}, 1)])
    with pytest.raises(InputError, match=r"model m: its config\.json names layer_types of 3 layers, and layer 3 is"):
        merged_config(CONFIG, ["w"], None, [Layer("m", CONFIG, 3)])


def test_companions(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    for name in ("generation_config.json", "modeling.py", "secret.txt"):
        (tmp_path / "in" / name).write_text(name)
    copy_companions(tmp_path / "in", tmp_path / "out", {})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["generation_config.json"]
    copy_companions(tmp_path / "in", tmp_path / "out", {"auto_map": {}})
    assert (tmp_path / "out" / "modeling.py").read_text() == "modeling.py"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_told(tmp_path, code):
    with (
        pytest.raises(InputError, match=r"the merged model takes 2\.5 GB, and .* are free; nothing was written"),
        full_disk_is_told(tmp_path / "a" / "b", 2_500_000_000),
    ):
        raise OSError(code, os.strerror(code))


def test_other_errors_of_the_disk_stay_what_they_are(tmp_path):
    with pytest.raises(PermissionError), full_disk_is_told(tmp_path, 1):
        raise PermissionError(errno.EACCES, "no")


def test_termination_unwinds():
    before = signal.getsignal(signal.SIGTERM)
    assert before is signal.SIG_DFL
    cleaned = []

    def work():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(5)
        finally:
            cleaned.append(True)

    with pytest.raises(KeyboardInterrupt), termination_cleans_up():
        work()
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_leaves_signals_alone():
    found = []

    def work():
        with termination_cleans_up():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]
