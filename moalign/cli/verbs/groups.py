"""`moalign groups`: find user groups in preference pairs and train a reward for each."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from frontier.errors import InputError
from moalign.cli.command import Command, about, parse
from moalign.cli.console import say
from moalign.cli.output_folder import check_unused, nothing_left_of_refused_input
from moalign.cli.quiet import hide_loading_bars

# Not config.json: in this folder that is the model's.
CONFIG = "training_config.json"


@dataclass
class GroupsOptions:
    """Options of `moalign groups` besides the search's settings."""

    model: str = field(
        metadata=about("A language model (folder or hub id), or reward heads whose trunk is taken and heads are left.")
    )
    train_data: list[str] = field(
        metadata=about(
            "Files of pairs with a `user` (.jsonl, .json, .csv, .parquet, .gz) or hub names; their rows are joined."
        )
    )
    output_dir: str = field(
        metadata=about("The run folder, which becomes the reward model: one objective per group, and groups.json.")
    )
    objective: str | None = field(
        default=None,
        metadata=about("Whose labels tell what users prefer; needed where pairs are labelled for several."),
    )
    skip_bad_rows: bool = field(default=False, metadata=about("Leave broken rows out, and write them to a side file."))
    overwrite_output_dir: bool = field(default=False, metadata=about("Replace a result that output_dir already holds."))


def command() -> Command:
    """The verb with the search's settings."""
    from reward_heads.users.config import UserGroupsConfig

    return Command(
        "groups",
        "Find groups of users who want different things in pairs that say who preferred what, choose how many there are on held-out pairs, and train one "
        "model with a reward per group. Max-min training takes the folder as its reward.",
        (GroupsOptions, UserGroupsConfig),
    )


def run(arguments: Sequence[str]) -> int:
    """Search, write the reward model with its groups and the resolved config, print the table."""
    values = parse(command(), arguments)
    if values is None:
        return 0
    options = values.build(GroupsOptions)
    check_unused(options.output_dir, options.overwrite_output_dir)
    from reward_heads.users.config import UserGroupsConfig

    config = values.build(UserGroupsConfig)
    with nothing_left_of_refused_input(options.output_dir):
        _fit(options, config)
    say(
        f"\nThe groups' rewards are in {options.output_dir}. Next: moalign train maxmin --model BASE --reward {options.output_dir} --dataset PROMPTS"
    )
    return 0


def _fit(options: GroupsOptions, config: Any) -> None:
    from frontier.atomic import write_text
    from moalign.data import read_pairs
    from reward_heads.examples import labelled_objectives
    from reward_heads.users import fit_user_groups

    hide_loading_bars()
    rows = [row for source in options.train_data for row in read_pairs(source, None, options.skip_bad_rows).dataset]
    labelled = labelled_objectives(rows)
    if options.objective is None and len(labelled) > 1:
        raise InputError(
            f"pairs are labelled for {', '.join(labelled)}: say which objective tells what users prefer, as in --objective {labelled[0]}"
        )
    groups = fit_user_groups(options.model, rows, config, objective=options.objective)
    groups.save(options.output_dir)
    resolved = asdict(options) | asdict(config) | {"method": "user_groups"}
    write_text(Path(options.output_dir) / CONFIG, json.dumps(resolved, indent=2, sort_keys=True) + "\n")
    say(groups.table())
