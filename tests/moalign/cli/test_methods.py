import dataclasses

import pytest
from transformers import TrainingArguments

from frontier.errors import InputError
from moalign.cli.methods import METHODS, find_method
from moalign.cli.verbs import train


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_started(name):
    config, trainer = METHODS[name].load()
    assert issubclass(config, TrainingArguments)
    assert dataclasses.is_dataclass(config)
    assert callable(trainer)
    assert METHODS[name].summary.endswith(".")


@pytest.mark.parametrize("name", METHODS)
def test_its_own_options_and_those_of_the_command_do_not_clash(name):
    options = train.command(name).options()
    assert options["output_dir"].required  # TrainingArguments has a default, which would hide a forgotten folder
    assert options["resume_from_checkpoint"].hint == bool | str | None
    shared = {f.name for f in dataclasses.fields(train.TrainOptions)} & {
        f.name for f in dataclasses.fields(METHODS[name].load()[0])
    }
    assert shared == {"output_dir", "resume_from_checkpoint"}
    assert {*train.COMMON, *train.BY_DATA[METHODS[name].data]} <= set(options)


def test_names_may_have_dashes_and_unknown_ones_are_refused():
    assert find_method("rewarded-soups") is METHODS["rewarded_soups"]
    with pytest.raises(InputError, match="unknown method 'rewarded_soup': did you mean 'rewarded_soups'"):
        find_method("rewarded_soup")
