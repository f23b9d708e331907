"""Open the users of a policy that is being served."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from moalign.policy import SteerablePolicy
from moalign.serving.users.book import UserBook
from moalign.serving.users.database import Database
from moalign.serving.users.store import UserStore
from moalign.serving.users.taste import Learner, load_population
from reward_heads.normalizer import Normalizer

# A secret that is kept apart from the database, so that names cannot be guessed from the database alone.
SECRET = "MOALIGN_USERS_SECRET"


def glance(database: str | None, prior: str | Path | None, objectives: Sequence[str]) -> None:
    """Tell of a database or a population that cannot be used before anything is loaded.

    Args:
        database (`str`, *optional*): a file, or the URL of a database.
        prior (`str` or `Path`, *optional*): folder of the population that users start from.
        objectives (`Sequence[str]`): of the bundle.

    Raises:
        InputError: the database cannot be opened, or the population is broken or over other objectives.
    """
    if database is not None:
        Database(database).close()
    if prior is not None:
        load_population(prior, objectives)


def users_in(
    database: str, prior: str | Path | None = None, keep_texts: bool = False
) -> Callable[[SteerablePolicy], UserBook]:
    """What opens the users of a policy, once it is loaded.

    Args:
        database (`str`): a file, or the URL of a database.
        prior (`str` or `Path`, *optional*): folder of the population that users start from; by default they start from the policy's default preference.
        keep_texts (`bool`, *optional*, defaults to `False`): whether judged texts are stored.

    Raises:
        InputError: (when called) the database cannot be opened, or the population is over other objectives.
    """

    def load(policy: SteerablePolicy) -> UserBook:
        population = None if prior is None else load_population(prior, policy.objectives)
        units = None if policy.normalizer is None else Normalizer.from_json(policy.normalizer)
        learner = Learner(policy.objectives, population, policy.default_preference, units)
        store = UserStore(Database(database), os.environ.get(SECRET, "").encode())
        return UserBook(store, learner, policy.default_preference.kind, keep_texts)

    return load
