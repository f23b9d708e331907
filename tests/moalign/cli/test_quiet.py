import logging
import warnings

import pytest

from moalign.cli.quiet import quiet


def noisy():
    logging.getLogger("transformers.some.part").warning("their warning")
    logging.getLogger("transformers").error("their error")
    logging.getLogger("moalign.data.load").warning("12 bad rows skipped")
    warnings.warn("this will change", FutureWarning, stacklevel=1)


def test_our_warnings_are_shown_and_theirs_are_not(capsys):
    with warnings.catch_warnings(record=True) as caught, quiet(verbose=False):
        noisy()
    err = capsys.readouterr().err
    assert "moalign: warning: 12 bad rows skipped\n" in err
    assert "their warning" not in err
    assert caught == []


def test_verbose_lets_them_speak():
    with warnings.catch_warnings(record=True) as caught, quiet(verbose=True):
        warnings.simplefilter("always")
        noisy()
        assert logging.getLogger("transformers").level != logging.ERROR
    assert [w.category for w in caught] == [FutureWarning]


def test_leaves_the_loggers_as_they_were():
    before = logging.getLogger("trl").level, list(logging.getLogger("moalign").handlers)
    with pytest.raises(KeyError), quiet(verbose=False):
        raise KeyError
    assert (logging.getLogger("trl").level, logging.getLogger("moalign").handlers) == before


def test_only_the_first_process_speaks(capsys, monkeypatch):
    from moalign.cli.console import say

    monkeypatch.setenv("RANK", "1")
    with quiet(verbose=False):
        logging.getLogger("moalign").warning("once is enough")
        say("so it is")
    assert capsys.readouterr() == ("", "")
