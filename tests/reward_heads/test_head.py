import json
import math

import pytest
import torch
from torch.testing import assert_close

from frontier.errors import InputError
from reward_heads.head import Head

ORDINAL = Head("rao_kupper", 1.25, "ordinal", (1, 2, 5), (0.0, math.log(3)))


def test_expected_ratings_by_hand():
    scores = torch.tensor([0.0, math.log(3)])
    # P(y <= 1) = 1/2, P(y <= 2) = 3/4 at 0: 1/2 + 2/4 + 5/4; at log 3: 1/4, 1/2.
    assert_close(ORDINAL.level_probabilities(scores)[0], torch.tensor([0.5, 0.25, 0.25]))
    assert_close(ORDINAL.expected_rating(scores), torch.tensor([2.25, 0.25 + 0.5 + 2.5]))
    assert_close(Head(ratings="binary").expected_rating(scores), torch.tensor([0.5, 0.75]))
    assert Head(ratings="squared").expected_rating(scores).isnan().all()


def test_round_trip():
    for head in (ORDINAL, Head(), Head("davidson", 0.0), Head(ratings="binary")):
        assert Head.from_json(json.loads(json.dumps(head.to_json()))) == head
    assert ORDINAL.levels == (1.0, 2.0, 5.0)
    assert Head(ratings="binary").sign_aware


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pairs": "bradley"}, "unknown pair_loss 'bradley': did you mean 'bradley_terry'"),
        ({"ratings": "huge"}, "unknown rating_loss 'huge'"),
        ({"pairs": "rao_kupper", "tie": 0.9}, "tie parameter of rao_kupper must be at least 1, found 0.9"),
        ({"pairs": "davidson"}, "tie parameter of davidson must be at least 0, found None"),
        ({"pairs": "bradley_terry", "tie": 1.0}, "has no tie parameter"),
        ({"ratings": "squared", "levels": (1, 2)}, "only an ordinal head has levels"),
        ({"ratings": "ordinal", "levels": (1, 2)}, "M - 1 thresholds, found 2 and 0"),
        ({"ratings": "ordinal", "levels": (2, 1), "thresholds": (0,)}, "levels of an ordinal head must be finite"),
        ({"ratings": "ordinal", "levels": (1, 2), "thresholds": (math.nan,)}, "thresholds of an ordinal head"),
    ],
)
def test_refuses_what_does_not_fit(settings, message):
    with pytest.raises(InputError, match=message):
        Head(**settings)


def test_only_an_ordinal_head_has_levels():
    with pytest.raises(InputError, match="trained on squared ratings"):
        Head(ratings="squared").level_probabilities(torch.zeros(2))
