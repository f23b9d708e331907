import json
import math

import numpy as np
import pytest
import toy

from frontier import measure
from frontier.errors import InputError
from frontier.front import FrontPoint
from frontier.realize.soup import OPTIMIZERS, Evaluation, Evaluations, Soup, SoupSpace, search_soups

NAMES = ("r", "s")
LIGHT = [kind for kind in OPTIMIZERS if kind not in ("nehvi", "lattice")]


def search(optimizer="nsga2", budget=40, space=toy.SPACE, evaluate=toy.evaluate, **options):
    return search_soups(evaluate, space, objectives=NAMES, budget=budget, optimizer=optimizer, progress=None, **options)


def test_the_toy_is_what_it_says():
    """No soup of a dense grid dominates the closed form, and soups that are alike in every block cannot reach it."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 21)] * 3), -1).reshape(-1, 3)
    front = toy.rewards(toy.best(toy.GRID))
    assert toy.volume(np.vstack([front, toy.rewards(grid)])) == pytest.approx(toy.WHOLE, rel=1e-4)
    assert toy.ALIKE < 0.9 * toy.WHOLE


@pytest.mark.parametrize(("optimizer", "budget", "share"), [("nsga2", 80, 0.97), ("improvement", 40, 0.985)])
def test_a_search_over_blocks_comes_near_the_known_front_and_beats_every_soup_of_one_block(optimizer, budget, share):
    front = search(optimizer, budget)
    assert toy.ALIKE < share * toy.WHOLE < toy.volume(front.rewards) <= toy.WHOLE
    lattice = search("lattice", budget, SoupSpace(toy.NAMES))
    assert toy.volume(lattice.rewards) <= toy.ALIKE


@pytest.mark.parametrize(("optimizer", "budget"), [("nsga2", 60), ("improvement", 24)])
def test_a_search_over_blocks_begins_as_the_one_over_the_whole_model(optimizer, budget):
    kept, whole, parts = Evaluations(places=("0", "1", "head")), [], []
    for asked, space in ((whole, SoupSpace(toy.NAMES)), (parts, toy.SPACE)):

        def listing(soup, asked=asked):
            asked.append(kept.key(soup))
            return toy.evaluate(soup)

        search(optimizer, budget, space, listing, reference=False)
    alike = next(i for i, (a, b) in enumerate(zip(whole, parts, strict=True)) if a != b)
    assert budget / 3 <= alike < budget / 2


def test_nothing_is_lost_where_blocks_do_not_matter():
    """Rewards of the mean over blocks alone: deviations bring nothing, and must cost nothing."""

    def evaluate(soup):
        share = np.mean([soup.at_place(place)[0] for place in ("0", "1", "head")])
        return 1 - (1 - share) ** 2, 1 - share**2

    place = np.array([-0.1, -0.1])
    found = [
        measure.hypervolume(search("improvement", 21, space, evaluate).rewards, place)
        for space in (SoupSpace(toy.NAMES), toy.SPACE)
    ]
    assert found[1] > 0.995 * found[0]


def test_a_search_over_one_block_finds_its_front():
    found = toy.volume(search("improvement", 30, SoupSpace(toy.NAMES)).rewards)
    assert 0.97 * toy.ALIKE < found <= toy.ALIKE + 1e-9


@pytest.mark.parametrize("optimizer", LIGHT)
def test_points_carry_the_soups_that_gave_them(optimizer):
    front = search(optimizer, 24, everything=True)
    assert len(front.points) == 24
    for point in front.points:
        assert np.allclose(toy.evaluate(Soup.of_point(point)), point.rewards)
    assert front.reference_policy.rewards == tuple(toy.rewards([0, 0, 0]))
    assert front.info["search"]["evaluations"] == 24
    assert search(optimizer, 24).non_dominated_mask().all()


@pytest.mark.parametrize("optimizer", LIGHT)
def test_the_same_seed_asks_the_same_and_another_does_not(optimizer):
    first, second, other = (search(optimizer, 24, seed=seed, everything=True) for seed in (1, 1, 2))
    assert first.points == second.points
    assert first.points != other.points


class Killed(BaseException):
    """As a signal would end it."""


@pytest.mark.parametrize("optimizer", LIGHT)
def test_a_killed_search_goes_on_and_ends_as_one_that_was_not(optimizer, tmp_path):
    calls = []

    def dying(soup):
        calls.append(soup)
        if len(calls) == 15:
            raise Killed
        return toy.evaluate(soup)

    whole = search(optimizer, 24)
    path = tmp_path / "kept.jsonl"
    with pytest.raises(Killed):
        search(optimizer, 24, evaluate=dying, evaluations=Evaluations(path))
    assert len(Evaluations(path)) == 14  # 13 soups and the base
    with path.open("a") as file:
        file.write('{"key": "torn')  # what a kill within a write leaves
    kept, again = Evaluations(path), []

    def counting(soup):
        again.append(soup)
        return toy.evaluate(soup)

    resumed = search(optimizer, 24, evaluate=counting, evaluations=kept)
    assert kept.torn == 1
    assert len(again) == 25 - 14
    assert resumed.points == whole.points
    assert len(Evaluations(path)) == 25
    silent = search(optimizer, 24, evaluate=dying, evaluations=Evaluations(path))
    assert silent.points == whole.points


def test_a_soup_of_alike_blocks_is_the_soup_of_one(tmp_path):
    kept = Evaluations(tmp_path / "kept.jsonl", places=("0", "1", "head"))
    search("lattice", 5, SoupSpace(toy.NAMES), evaluations=kept)
    asked = []

    def counting(soup):
        asked.append(soup)
        return toy.evaluate(soup)

    search("nsga2", 12, evaluate=counting, evaluations=kept)
    assert len(asked) == 12 - 5  # it begins with the same five; the base is known too
    assert kept.get(Soup(toy.NAMES, toy.BLOCKS, ((0.5, 0.5),) * 3)) is not None


def test_what_rewards_depend_on_is_part_of_the_key(tmp_path):
    one, other = (Evaluations(tmp_path / "kept.jsonl", {"seed": seed}) for seed in (0, 1))
    soup = Soup.alike(toy.NAMES, (0.5, 0.5))
    one.add(soup, Evaluation(FrontPoint((1.0, 2.0), (0.5, math.nan), 3, kl=0.1), np.array([[1, np.nan], [3, 4]])))
    assert other.get(soup) is None
    read = Evaluations(tmp_path / "kept.jsonl", {"seed": 0}).get(soup)
    assert read.point.rewards == (1.0, 2.0)
    assert math.isnan(read.point.standard_error[1])
    assert np.array_equal(read.by_prompt, [[1, np.nan], [3, 4]], equal_nan=True)
    assert Evaluations(tmp_path / "kept.jsonl", {"seed": 1}).get(soup) is None


def test_prompt_rewards_go_into_the_front():
    def evaluate(soup):
        rows = toy.evaluate(soup) + np.array([[-1.0, 1.0], [1.0, -1.0]])
        return Evaluation(FrontPoint(rows.mean(0), (1.0, 1.0), 2), rows)

    front = search(evaluate=evaluate, budget=20, prompts=("p", "q"))
    assert front.prompt_rewards.rewards.shape == (len(front.points), 2, 2)
    assert front.prompt_rewards.reference.shape == (2, 2)


def test_limits_let_coefficients_exceed_one():
    """A reward that is best at twice the expert is out of the simplex's reach."""
    space = SoupSpace(toy.NAMES, limits=(-1.0, 2.0))

    def evaluate(soup):
        a, b = soup.coefficients[0]
        return -((a - 2) ** 2) - b**2, -((b - 2) ** 2) - a**2

    front = search("improvement", 40, space, evaluate)
    best = max(front.points, key=lambda p: p.rewards[0])
    assert best.rewards[0] > -0.05
    assert Soup.of_point(best).coefficients[0][0] > 1.8


def test_refuses(tmp_path):
    with pytest.raises(InputError, match="did you mean 'nsga2'"):
        search("nsga")
    with pytest.raises(InputError, match="at least one soup an expert, 2; found 1"):
        search(budget=1)
    with pytest.raises(InputError, match="finite reward for each of r, s"):
        search(evaluate=lambda soup: (1.0,))
    with pytest.raises(InputError, match="finite reward"):
        search(evaluate=lambda soup: (1.0, math.nan))
    (tmp_path / "other.jsonl").write_text(json.dumps({"schema": "other"}) + "\n")
    with pytest.raises(InputError, match="no evaluations of soups"):
        Evaluations(tmp_path / "other.jsonl")
    assert (tmp_path / "other.jsonl").read_text() == json.dumps({"schema": "other"}) + "\n"


@pytest.mark.slow
def test_qlognehvi():
    pytest.importorskip("botorch")
    assert toy.volume(search("nehvi", 16).rewards) > toy.ALIKE * 0.95
