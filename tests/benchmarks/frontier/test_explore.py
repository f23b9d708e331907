import numpy as np
import pytest
from pymoo.problems import get_problem

from benchmarks.frontier.explore import PROBLEMS, dtlz2, greedy, run, zdt1, zdt2
from frontier.choose.explore import simplex_lattice

INNER = simplex_lattice(2, 20)[1:-1]


def test_zdt1_is_pymoos_front_at_linear_weights():
    front = get_problem("zdt1").pareto_front(n_pareto_points=20_001)
    found = -zdt1(INNER)
    np.testing.assert_allclose((INNER * found).sum(1), (INNER @ front.T).min(1), atol=1e-6)


def test_zdt2_is_pymoos_front_at_chebyshev_weights():
    front = get_problem("zdt2").pareto_front(n_pareto_points=20_001)
    found = -zdt2(INNER)
    np.testing.assert_allclose((INNER * found).max(1), (INNER[:, None] * front).max(2).min(1), atol=1e-4)
    np.testing.assert_allclose(zdt2(np.array([[1.0, 0], [0, 1]])), [[0, -1], [-1, 0]], atol=1e-6)


def test_dtlz2_is_pymoos_front_in_the_weights_directions():
    weights = simplex_lattice(3, 6)
    np.testing.assert_allclose(-dtlz2(weights), get_problem("dtlz2").pareto_front(weights), atol=1e-6)


def test_greedy_by_hand():
    points = np.array([[3.0, 1], [1, 3], [2, 2]])  # of 6 in all: 4, then one more each
    assert [greedy(points, np.zeros(2), goal) for goal in (4, 5, 6)] == [1, 2, 3]


def test_a_run_counts_what_it_needed():
    figures = run("soups2", "random", 0)
    assert figures["lattice"] == 495
    assert figures["best"] < figures["evaluations"] <= 495
    assert figures["share"] >= 0.99


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_problem_has_a_lattice_of_its_size(name):
    problem = PROBLEMS[name]
    assert len(simplex_lattice(problem.n_weights, problem.partitions)) in (201, 495, 496)
