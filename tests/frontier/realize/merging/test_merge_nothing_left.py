import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from tiny_checkpoints import edit_tensors

from frontier.errors import InputError
from frontier.realize.merging import merge


def recipe(method, models, base=None, parameters=None, **settings):
    """`models`: folder to settings."""
    entries = [{"model": str(folder), "parameters": own} for folder, own in models.items()]
    made = {"merge_method": method, "models": entries, "parameters": parameters or {}} | settings
    return made | ({"base_model": str(base)} if base else {})


def halves(llamas, **settings):
    return recipe("linear", {llamas["one"]: {"weight": 1}, llamas["two"]: {"weight": 3}}, **settings)


class TestNothingIsLeft:
    def refused(self, config, tmp_path, message, **options):
        before = sorted(tmp_path.iterdir())
        with pytest.raises(InputError, match=message):
            merge(config, tmp_path / "out", progress=False, **options)
        assert sorted(tmp_path.iterdir()) == before

    @pytest.mark.parametrize(("value", "what"), [(torch.nan, "NaN"), (torch.inf, "infinite")])
    def test_of_a_tensor_that_is_not_finite(self, fresh, tmp_path, value, what):
        a, b = fresh("a", 1), fresh("b", 2)
        edit_tensors(b, lambda t: t["model.layers.2.mlp.up_proj.weight"].view(-1)[-1:].fill_(value))
        models = {a: {"weight": 1}, b: {"weight": 1}}
        message = rf"tensor 'model\.layers\.2\.mlp\.up_proj\.weight' in .*b/model\.safetensors has {what} values"
        self.refused(recipe("linear", models), tmp_path, message)

    def test_of_tensors_that_differ(self, fresh, llamas, tmp_path):
        models = {llamas["one"]: {"weight": 1}, fresh("b", vocabulary=50): {"weight": 1}}
        self.refused(
            recipe("linear", models), tmp_path, r"\[50, 32\] .* but \[48, 32\] in .*vocabularies of different sizes"
        )
        models = {llamas["one"]: {"weight": 1}, fresh("c", layers=2): {"weight": 1}}
        self.refused(
            recipe("linear", models), tmp_path, r"tensor 'model\.layers\.2\..*' is in .*one.* but not in model .*c"
        )

    def test_of_tokenizers_that_differ(self, fresh, tokenizer, tmp_path):
        a, b = fresh("a", 1), fresh("b", 2)
        tokenizer.save_pretrained(a)
        shutil.copyfile(a / "tokenizer.json", b / "tokenizer.json")
        text = (b / "tokenizer.json").read_text()
        (b / "tokenizer.json").write_text(text.replace('"good": 32', '"good": 33').replace('"bad": 33', '"bad": 32'))
        self.refused(recipe("linear", {a: {"weight": 1}, b: {"weight": 1}}), tmp_path, "token '(good|bad)' is 3")

    def test_of_a_full_disk(self, llamas, tmp_path, monkeypatch):
        import errno

        real = os.posix_fallocate
        calls = []

        def second_is_too_much(descriptor, start, size):
            calls.append(size)
            if len(calls) > 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(descriptor, start, size)

        monkeypatch.setattr(os, "posix_fallocate", second_is_too_much)
        self.refused(
            halves(llamas), tmp_path, "no space left on device: the merged model takes .* KB", max_shard_size=20_000
        )

    def test_of_a_limit_on_files(self, llamas, tmp_path):
        """The system itself refuses here, in a process of its own."""
        code = f"""
            import resource, signal
            from frontier.errors import InputError
            from frontier.realize.merging import merge
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
            try:
                merge({halves(llamas)!r}, {str(tmp_path / "out")!r}, progress=False)
            except InputError as error:
                print(error)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
        )
        assert "file too large: the merged model takes" in done.stdout, done.stderr
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
    def test_of_a_merge_that_is_killed(self, llamas, tmp_path, sign):
        code = f"""
            import pathlib, signal, time
            from frontier.realize.merging import compute, merge
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs are born deaf to it
            def stuck(*args):
                open({str(tmp_path / "started")!r}, "w").close()
                while not pathlib.Path({str(tmp_path / "go")!r}).exists():
                    time.sleep(0.01)
                return real(*args)
            real, compute.merge_piece = compute.merge_piece, stuck
            merge({halves(llamas)!r}, {str(tmp_path / "out")!r}, progress=False, workers=2)
        """
        process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stderr=subprocess.PIPE)
        while not (tmp_path / "started").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        assert any(path.name.startswith(".out.") for path in tmp_path.iterdir())
        process.send_signal(sign)
        (tmp_path / "go").touch()
        process.communicate(timeout=120)
        assert process.returncode != 0
        assert sorted(path.name for path in tmp_path.iterdir()) == ["go", "started"]
