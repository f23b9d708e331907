import pytest

from frontier.errors import InputError
from frontier.realize.soup.blocks import blocks_of, check_blocks, holds, place_of, places_of


@pytest.mark.parametrize(
    ("tensor", "place"),
    [
        ("model.layers.11.self_attn.q_proj.weight", "11"),
        ("transformer.h.0.attn.c_attn.weight", "0"),
        ("model.layers.2.mlp.experts.5.w1.weight", "2"),
        ("0.weight", "0"),
        ("model.embed_tokens.weight", "embeddings"),
        ("transformer.wpe.weight", "embeddings"),
        ("lm_head.weight", "head"),
        ("model.norm.weight", "head"),
    ],
)
def test_where_tensors_are(tensor, place):
    assert place_of(tensor) == place


def test_layers_are_ordered_as_numbers():
    names = ["lm_head.weight", *(f"h.{i}.w" for i in (10, 2, 0)), "wte.weight"]
    assert places_of(names) == ("embeddings", "0", "2", "10", "head")


def test_blocks():
    places = ("embeddings", *map(str, range(5)), "head")
    assert blocks_of(places, 0) == ("all",)
    assert blocks_of(places, 2) == ("embeddings", "layers 0-1", "layers 2-4", "head")
    assert blocks_of(("0", "1"), 2) == ("layers 0-0", "layers 1-1")


@pytest.mark.parametrize("count", [-1, 6])
def test_refuses_more_blocks_than_layers(count):
    with pytest.raises(InputError, match=r"0 .* to 5, a layer each; found"):
        blocks_of(tuple(map(str, range(5))), count)


def test_every_place_lies_in_one_block():
    places = ("embeddings", *map(str, range(12)), "head")
    for count in range(1, 13):
        blocks = blocks_of(places, count)
        check_blocks(blocks)
        assert [sum(holds(block, place) for block in blocks) for place in places] == [1] * len(places)


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ((), "found none"),
        (("all", "head"), "alone"),
        (("layers 0-3", "layers 3-4"), "shares layer 3"),
        (("layers 4-3",), "ends before"),
        (("layer 3",), "unknown block 'layer 3'"),
    ],
)
def test_refuses(blocks, message):
    with pytest.raises(InputError, match=message):
        check_blocks(blocks)
