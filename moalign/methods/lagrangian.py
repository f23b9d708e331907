"""Constrained training: maximise some objectives while others are held above, below or at a threshold (Safe-RLHF, constrained RLHF)."""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from datasets import Dataset
from transformers import PreTrainedModel

from frontier.errors import InputError, unknown_name
from moalign.constraint_history import Moment, read_history
from moalign.constraint_report import ConstraintReport
from moalign.methods.dual_trainer import Answers, DualConfig, DualTrainer
from moalign.policy import SteerablePolicy
from moalign.scalarize.lagrangian import DUALS, Constraint, Lagrangian
from moalign.training.rollouts.rollout import PreferenceSampler, RolloutRows
from moalign.training.runs.folder import METRICS
from reward_heads import Normalizer, VectorReward

PLOT = "constraints.png"
_SIGNS: dict[str, Literal["above", "below", "equal"]] = {">=": "above", "<=": "below", "==": "equal"}


@dataclass
class LagrangianConfig(DualConfig):
    """Configuration of `LagrangianTrainer`: the online learner's, plus the constraints and how their multipliers move.

    The defaults are those that settle in worlds whose multipliers are known; the paper's are `dual: log_lambda, initial: 1, window: 128, proportional: 0`.
    """

    conditioning: str = field(
        default="none",
        metadata={
            "help": "none (one policy), or adapter_mixture or prompt: steerable between the objectives that carry no constraint.",
            "choices": ("none", "adapter_mixture", "prompt"),
        },
    )
    constraints: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Such as harmless>=0.2,verbosity<=1.5,length==0.3: thresholds of mean rewards, in the rewards' own units."
        },
    )
    rate: float = field(
        default=0.05,
        metadata={
            "help": "Step of the multipliers per update and unit of normalised reward; it follows the learning rate's schedule."
        },
    )
    dual: str = field(
        default="lambda",
        metadata={
            "help": "What the step is taken in: lambda (a plain sum), log_lambda (Safe-RLHF; sticky near 0) or exponentiated.",
            "choices": DUALS,
        },
    )
    initial: float | None = field(
        default=None, metadata={"help": "First multiplier of inequalities: 0 with dual lambda by default, otherwise 1."}
    )
    window: int | None = field(
        default=None,
        metadata={"help": "Completions that a violation is averaged over; by default those of four updates."},
    )
    delay: int = field(default=0, metadata={"help": "So many first updates leave the multipliers as they are."})
    cap: float = field(
        default=10.0,
        metadata={"help": "Largest multiplier. One that stays there belongs to a constraint that cannot be met."},
    )
    proportional: float = field(
        default=0.5,
        metadata={"help": "Added to a multiplier per unit of violation: damps the swings that a sum alone makes."},
    )
    derivative: float = field(
        default=0.0, metadata={"help": "Added to a multiplier per unit that the violation grew by in the last update."}
    )
    tolerance: float = field(
        default=0.05,
        metadata={"help": "How far off a constraint with == may end and still count as held, in normalised units."},
    )

    def __post_init__(self) -> None:
        if isinstance(self.constraints, str):
            self.constraints = self.constraints.split(",")
        if not self.constraints:
            raise InputError("constraints is empty: give at least one, as in harmless>=0.2 (allowed: >=, <=, ==)")
        super().__post_init__()


def parse_constraint(text: str, objectives: Sequence[str]) -> Constraint:
    """Read `harmless>=0.2`, `verbosity<=1.5` or `length==0.3`.

    Args:
        text (`str`): an objective, one of >=, <= and ==, and a number in the units of the objective's reward.
        objectives (`Sequence[str]`): the valid names.

    Raises:
        InputError: it has another form, or names no objective.

    Example:
        >>> parse_constraint("harmless >= -0.5", ["helpful", "harmless"])
        Constraint(objective='harmless', kind='above', threshold=-0.5)
    """
    match = re.fullmatch(r"\s*([^<>=]+?)\s*(>=|<=|==)\s*([^<>=]+?)\s*", text)
    number = _number(match[3]) if match else None
    if match is None or number is None:
        raise InputError(
            f"constraint '{text}': expected OBJECTIVE>=NUMBER, OBJECTIVE<=NUMBER or OBJECTIVE==NUMBER, as in {objectives[0]}>=0.2"
        )
    if match[1] not in objectives:
        raise InputError(f"constraint '{text}': {unknown_name('objective', match[1], objectives)}")
    return Constraint(match[1], _SIGNS[match[2]], number)


class LagrangianTrainer(DualTrainer):
    r"""Safe-RLHF ([Dai et al., 2024](https://huggingface.co/papers/2310.12773)): Lagrangian scalarizer × one adapter or a mixture × online RL.

    With several constraints, of any direction and on any objective, as in constrained RLHF ([Moskovitz et al., 2024](https://huggingface.co/papers/2310.04373)):

    $$ \max_\pi E_\pi[w^\top r] - \beta\, KL(\pi \| \pi_{ref}) \quad \text{s.t.} \quad E_\pi[r_i] \ge d_i \ \ (\le, =) $$

    Everything is maximised, so a cost is a negative reward: $E[c] \le d$ is `harmless>=-d`. The policy ascends $w^\top r - \sum_i \lambda_i v_i$ with
    $v_i$ the violation of constraint i; the multipliers follow (`Lagrangian`). w is `preference`: by default even over the objectives that carry no
    constraint; an objective that carries one counts in w where `preference` names it. With conditioning adapter_mixture (or prompt) w is sampled over the
    unconstrained objectives and the policy is steerable between them; the constraints then hold on average over the sampled preferences, not at each.
    Where every objective carries a constraint, the policy stays as near to the reference as they allow.

    Thresholds are in the rewards' own units. Inside, rewards are centred and scaled by the normaliser, thresholds with them, and multipliers are per
    normalised unit (`lambda/...` and `violation/...` in the log).

    `train` ends with a [`ConstraintReport`], in `constraints.json`, `constraints.md`, `constraints.png`, the bundle and its card: measured on the evaluation
    data set's prompts; without one on those of training, and then says so. A constraint that nothing satisfies drives its multiplier up, until `cap`:
    training warns when it gets there and again at the end, and the report calls it violated.

    Deviations from Safe-RLHF: the multiplier itself is moved, not its logarithm (which hardly moves near 0), with a proportional term that damps it and a
    rate that follows the learning rate's schedule; the signal is not divided by $1 + \lambda$, which would make the KL coefficient grow with λ and end at
    another policy than the one above; one advantage of the combined reward (RLOO) in place of two critics'.

    Args: as of `OnlineTrainer`; there is no `scalarizer`.

    Raises:
        InputError: a constraint that cannot be read, settings out of range, and as `OnlineTrainer`.
    """

    method = "lagrangian"
    paper = "https://huggingface.co/papers/2310.12773"
    args: LagrangianConfig
    scalarizer: Lagrangian

    def __init__(
        self,
        model: str | PreTrainedModel | SteerablePolicy,
        reward: VectorReward,
        args: LagrangianConfig,
        train_dataset: Dataset,
        eval_dataset: Dataset | None = None,
        **kwargs: Any,
    ) -> None:
        self.constraints = tuple(parse_constraint(text, reward.objectives) for text in args.constraints)
        self.report: ConstraintReport | None = None
        self._about = ""
        self._warned: set[str] = set()
        scalarizer = Lagrangian(
            reward.objectives,
            self.constraints,
            args.dual,  # type: ignore[arg-type]
            args.rate,
            (0.0 if args.dual == "lambda" else 1.0) if args.initial is None else args.initial,
            4 * cast("int", args.generation_batch_size) if args.window is None else args.window,
            args.delay,
            args.cap,
            args.proportional,
            args.derivative,
            normalise=False,
            keep_weights=args.preference is not None,
        )
        super().__init__(model, reward, args, train_dataset, eval_dataset, scalarizer=scalarizer, **kwargs)
        if self.sampler.fixed is None:
            bound = {constraint.objective for constraint in self.constraints}
            self.sampler = UnconstrainedSampler(self.sampler, [n for n in reward.objectives if n not in bound])

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self._set_thresholds()
        rewards = super()._calculate_rewards(*args, **kwargs)
        self._warn_of_caps()
        return rewards

    def _set_thresholds(self) -> None:
        """Bring the thresholds to the normaliser's units; it is measured after the scalarizer is made."""
        if self.normalizer is None:
            return
        own = [self.normalizer.select([constraint.objective]) for constraint in self.constraints]
        self.scalarizer.constraints = tuple(
            constraint.normalised(unit.location[0], unit.scale[0])
            for constraint, unit in zip(self.constraints, own, strict=True)
        )

    def _warn_of_caps(self) -> None:
        for constraint, status in zip(self.constraints, self.scalarizer.status(), strict=True):
            if status["saturated"] and str(constraint) not in self._warned:
                self._warned.add(str(constraint))
                logging.getLogger("moalign").warning(
                    "The multiplier of '%s' is at its cap of %g at step %d: perhaps no policy meets this constraint. "
                    "If the report at the end says violated, loosen the threshold, lower beta or raise cap.",
                    constraint,
                    self.scalarizer.cap,
                    self.state.global_step,
                )

    def steering_state(self) -> dict[str, Any]:
        """What a checkpoint has to know beyond weights and optimizer, as JSON."""
        return super().steering_state() | {"constraints": [str(constraint) for constraint in self.constraints]}

    def restore_steering(self, state: dict[str, Any]) -> None:
        """Go on from a `steering_state`.

        Raises:
            InputError: it was trained under other constraints.
        """
        mine = [str(constraint) for constraint in self.constraints]
        if state["constraints"] != mine:
            raise InputError(
                f"the checkpoint was trained under {'; '.join(state['constraints'])}, this run has {'; '.join(mine)}"
            )
        if state["normalizer"] is not None:
            self.normalizer = Normalizer.from_json(state["normalizer"])
        self._set_thresholds()  # the multipliers' state belongs to thresholds in normalised units
        super().restore_steering(state)

    # ---- the report

    def write_report(self) -> None:
        """Measure every constraint; write `constraints.json`, `constraints.md` and the picture."""
        answers = self.answers()
        folder = Path(str(self.args.output_dir))
        history = read_history(folder / METRICS, self.constraints, self.normalizer)
        self.report = self.constraint_report(answers, history)
        self._about = answers.about
        self.report.save(folder)
        self.report.plot(folder / PLOT)
        for result in self.report.results:
            if result.verdict == "violated":
                logging.getLogger("moalign").warning(
                    "The trained policy violates '%s': its mean is %.4g (%s), λ ended at %s.",
                    result.title,
                    result.mean,
                    self._about,
                    result.last_multiplier,
                )

    def constraint_report(
        self, answers: Answers, history: Mapping[str, Sequence[Moment]] | None = None
    ) -> ConstraintReport:
        """Judge the constraints by what the trained policy answered.

        Args:
            answers (`Answers`): of the policy.
            history (*optional*): the multipliers' path, of `read_history`.
        """
        units = self.normalizer
        tolerance = {
            c.objective: self.args.tolerance * (units.select([c.objective]).scale[0] if units is not None else 1.0)
            for c in self.constraints
        }
        return ConstraintReport.measure(
            self.constraints,
            answers.policy.rewards,
            self.reward.objectives,
            prompt_ids=answers.prompt_ids,
            history=history,
            tolerance=tolerance,
            cap=self.scalarizer.cap,
        )

    def describe(self) -> dict[str, Any]:
        """What `steer.json` and the model card say of the training: the constraints' verdicts among it once there are any."""
        story = super().describe() | {"constraints": ", ".join(self.args.constraints)}
        if not self.args.preference:
            bound = {constraint.objective for constraint in self.constraints}
            free = ", ".join(name for name in self.reward.objectives if name not in bound)
            how = (
                "equal weights of"
                if self.sampler.fixed is not None
                else f"sampled, Dirichlet({self.args.concentration}), over"
            )
            story["preferences"] = f"{how} {free}" if free else "none: only the constraints and the reference count"
        if self.report is None:
            return story
        story["measured on"] = self._about
        for result in self.report.results:
            story[f"constraint {result.title}"] = (
                f"{result.verdict}: mean {result.mean:.4g}, {self.report.level:.0%} interval {result.low:.4g} to {result.high:.4g}, "
                f"{'certified' if result.certified else 'not certified'}, λ {result.last_multiplier}"
            )
        return story


class UnconstrainedSampler(PreferenceSampler):
    """Draws preferences over some of the objectives; the others weigh 0.

    Args:
        sampler (`PreferenceSampler`): whose settings and generator are taken over.
        free (`Sequence[str]`): the objectives that are weighed, in their order.

    Raises:
        InputError: there is none.
    """

    def __init__(self, sampler: PreferenceSampler, free: Sequence[str]) -> None:
        if not free:
            raise InputError(
                "every objective carries a constraint, so that there is nothing to steer between: set conditioning to none"
            )
        vars(self).update(vars(sampler))
        self._inner = PreferenceSampler(tuple(free), self.concentration)
        self._inner.generator = self.generator
        self._columns = [self.objectives.index(name) for name in free]

    def sample(self, groups: int, group_size: int) -> RolloutRows:
        """As of `PreferenceSampler`."""
        rows = self._inner.sample(groups, group_size)
        weights = torch.zeros(len(rows.weights), len(self.objectives))
        weights[:, self._columns] = rows.weights
        return RolloutRows(weights, rows.alpha)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
