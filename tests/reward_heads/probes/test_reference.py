import dataclasses

import pytest
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.probes.embedder import Embedder
from reward_heads.probes.reference import EncoderReference


def test_the_encoder_is_found_again_with_its_settings(encoder_folder):
    embedder = Embedder.from_pretrained(encoder_folder, pooling="first", max_length=7)
    named = EncoderReference.of("probe", embedder)
    assert (named.source, named.width) == (str(encoder_folder), 32)
    again = named.load()
    named.check(again)
    assert again.settings() == embedder.settings()
    assert_close(again.embed(["a b"], [" c"]), embedder.embed(["a b"], [" c"]))


def test_another_one_is_refused_by_width_and_then_by_fingerprint(encoder_folder):
    embedder = Embedder.from_pretrained(encoder_folder)
    named = EncoderReference.of("gate", embedder)
    with pytest.raises(InputError, match=r"the gate was fitted on an encoder of width 31 \(.*\), but .* has width 32"):
        dataclasses.replace(named, width=31).check(embedder)
    other = dataclasses.replace(named, fingerprint="0" * 64, width=None)
    with pytest.raises(
        InputError, match=f"fingerprint 0000000000000000 .* has {embedder.fingerprint[:16]}: .*fit the gate anew"
    ):
        other.check(embedder)
    with pytest.raises(InputError, match="but object has None"):
        other.check(object())


def test_what_has_no_place_cannot_be_named(encoder_folder):
    with pytest.raises(
        InputError, match="a probe is saved with the folder or hub id of its encoder, but this object has none"
    ):
        EncoderReference.of("probe", object())
    gone = dataclasses.replace(EncoderReference.of("probe", Embedder.from_pretrained(encoder_folder)), source="./gone")
    with pytest.raises(InputError, match=r"the encoder of this probe: .*gone.*; if it has moved, give source="):
        gone.load(argument="source")
