import logging

from moalign.serving.compiled import CompiledModel


def test_it_calls_what_was_compiled():
    model = CompiledModel(lambda x: x, lambda _: lambda x: x + 1)
    assert model(x=1) == 2
    assert not model.broken


def test_what_cannot_be_compiled_runs_as_it_is_and_says_so_once(caplog):
    caplog.set_level(logging.WARNING)
    attempts = []

    def compile(model):
        def fail(**inputs):
            attempts.append(inputs)
            raise RuntimeError("no graph")

        return fail

    model = CompiledModel(lambda x: x, compile)
    assert [model(x=i) for i in range(3)] == [0, 1, 2]
    assert len(attempts) == 1
    assert [r.message for r in caplog.records] == [
        "compile_decode: this model can't be compiled here, decoding goes on without"
    ]
