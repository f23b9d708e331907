"""Users as Gaussian latents: the fitted model, what it says of a user, whether it has collapsed, whether it notices swapped labels, files."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from frontier.atomic import replace_folder, write_text
from frontier.errors import InputError, unknown_name
from frontier.objectives import check_objectives
from reward_heads.examples import Example
from reward_heads.probes.embedder import TextEmbedder
from reward_heads.users.choose import Likelihood
from reward_heads.users.latent_config import LatentConfig
from reward_heads.users.latent_network import Gaussians, PairEncoder, Prior, infer
from reward_heads.users.posterior import UserPosterior, check_answers
from reward_heads.users.simplex_saved import read_weights
from reward_heads.users.simplex_users import pairs_of

FILE_NAME = "latent.json"
WEIGHTS_NAME = "latent.safetensors"
SCHEMA_VERSION = 1
ACTIVE = 0.01
SAMPLES = 1000


@dataclass(frozen=True)
class LatentFit:
    """How the fit went.

    Args:
        bound (`float`): evidence bound at the end, nats per query pair.
        divergence (`float`): its KL part, unweighted, nats per query pair; 0 would be a collapsed posterior.
        units (`tuple[float, ...]`): variance of users' posterior means along each taste that was tried, widest first, before any was dropped.
        likelihood (`tuple[Likelihood, ...]`): held-out log-likelihood by number of tastes; empty if nothing was held out.
        gain (`tuple[float, float]`, *optional*): nats per held-out pair that the tastes bring beside the shared component alone, and the standard error of that,
            clustered by user; `None` if nothing was held out or nothing is shared.
        pairs (`int`): learned from.
        held_out_pairs (`int`): that the number of tastes was chosen on.
        config (`LatentConfig`): the settings, a KL weight other than 1 among them.
    """

    bound: float
    divergence: float
    units: tuple[float, ...]
    likelihood: tuple[Likelihood, ...]
    gain: tuple[float, float] | None
    pairs: int
    held_out_pairs: int
    config: LatentConfig


@dataclass(frozen=True)
class SwapTest:
    """What happens to predictions when every label of a user is turned round.

    Args:
        flipped (`float`): share of pairs whose predicted preference changes sides.
        opposite (`float`): mean cosine between posterior means before and after; −1 is perfect.
        n (`int`): pairs that were predicted.
    """

    flipped: float
    opposite: float
    n: int


@dataclass(frozen=True)
class LatentUsers:
    """A reward with one Gaussian latent per user, as [`fit_latent_users`] finds it; a [`UserModel`] whose posteriors come from `reward_heads.users.latent_network`.

    Args:
        names (`tuple[str, ...]`): D components: `shared` (what all users have in common, weight about 1), then the tastes, widest first.
        weights (`Tensor`): `[D, d]` float64; component k scores features f by `weights[k] @ f`, in nats for a user with weight 1.
        prior_mean (`Tensor`): `[D]`: the population.
        prior_variance (`Tensor`): `[D]`.
        encoder (`PairEncoder`): makes of each pair what it says of its user.
        refine (`int`): steps of inference after the encoder.
        users (`tuple[str, ...]`): U users that were seen.
        counts (`Tensor`): `[U]` int64, their pairs.
        means (`Tensor`): `[U, D]`, their posterior means.
        precisions (`Tensor`): `[U, D, D]`.
        fit (`LatentFit`): how it went.
        embedder (`TextEmbedder`, *optional*): makes features of texts; what takes texts needs one.
        fitted_on (`str`, *optional*): fingerprint of the embedder that made the features of the fit; no other is taken.

    Raises:
        InputError: shapes don't fit, a number is not finite, or the embedder is another one.
    """

    names: tuple[str, ...]
    weights: Tensor
    prior_mean: Tensor
    prior_variance: Tensor
    encoder: PairEncoder
    refine: int
    users: tuple[str, ...]
    counts: Tensor
    means: Tensor
    precisions: Tensor
    fit: LatentFit
    embedder: TextEmbedder | None = None
    fitted_on: str | None = None

    def __post_init__(self) -> None:
        check_objectives(self.names)
        u, k = len(self.users), len(self.names)
        shapes = {"weights": (k, self.weights.shape[-1]), "prior_mean": (k,), "prior_variance": (k,), "counts": (u,)}
        for name, expected in (shapes | {"means": (u, k), "precisions": (u, k, k)}).items():
            found = getattr(self, name)
            if tuple(found.shape) != expected or not found.isfinite().all():
                raise InputError(f"{name} must be finite and {list(expected)}, found {list(found.shape)}")
        if not (self.prior_variance > 0).all():
            raise InputError("prior_variance must be positive")
        if self.embedder is not None and self.embedder.width != self.weights.shape[1]:
            raise InputError(f"the embedder's width must be {self.weights.shape[1]}, found {self.embedder.width}")
        if self.embedder is not None and self.fitted_on is not None and self.embedder.fingerprint != self.fitted_on:
            raise InputError("it was fitted on the vectors of another embedder")

    # ---- one user

    @property
    def objectives(self) -> tuple[str, ...]:
        """The components, for they are a `VectorReward` too."""
        return self.names

    def population(self) -> UserPosterior:
        """The prior: what is known of a user before any pair."""
        empty = torch.zeros(0, dtype=torch.float64)
        return self.posterior_of(empty.reshape(0, len(self.names)), empty)

    def posterior_of(self, differences: Tensor, labels: Tensor) -> UserPosterior:
        """What is known of a user after `[n, D]` differences of components and `[n]` labels; see [`UserModel.posterior_of`]."""
        delta, known = check_answers(differences, labels, self.names)
        owner = torch.zeros(len(known), dtype=torch.long)
        return self._report(self._infer(delta, known, owner, 1), 0, len(known))

    def posterior(self, pairs: Iterable[Mapping[str, Any]]) -> UserPosterior:
        """The same from rows of text; see [`UserModel.posterior`]. Labels of a single objective count, whatever its name.

        Raises:
            InputError: no embedder, a row is broken or a rating, or labels of several objectives.
        """
        examples, labels = pairs_of(pairs, None)
        return self.posterior_of(self._differences(examples), labels)

    def of(self, user: str) -> UserPosterior:
        """What the fit found out about a user that was seen.

        Raises:
            InputError: the user was not seen; names the nearest that was.
        """
        user = str(user)
        if user not in self.users:
            raise unknown_name("user", user, self.users)
        at = self.users.index(user)
        return self._report(Gaussians(self.means, self.precisions), at, int(self.counts[at]))

    # ---- components

    def components(self, features: Tensor) -> Tensor:
        """`[N, d]` features to `[N, D]` float64 components."""
        if features.dim() != 2 or features.shape[1] != self.weights.shape[1]:
            raise InputError(f"features must be [N, {self.weights.shape[1]}], found {list(features.shape)}")
        return features.detach().cpu().double() @ self.weights.T

    def differences(self, pairs: Iterable[Mapping[str, Any]]) -> Tensor:
        """`[n, D]` float64: components of a minus those of b; see [`UserModel.differences`]."""
        rows = [{**row, "labels": {}} if isinstance(row, Mapping) else row for row in pairs]
        return self._differences(pairs_of(rows, None)[0])

    def score(self, prompts: Any, completions: Any) -> Tensor:
        """`[B, D]` float32, the components of completions; see [`VectorReward.score`]."""
        return self.components(self._embedder().embed(prompts, completions)).float()

    # ---- is it any good?

    def unit_variances(self) -> dict[str, float]:
        """Variance of users' posterior means along each taste, in units of its prior variance: near 0 where nobody is known to differ, near 1 where much is known."""
        found = self.means.var(dim=0) / self.prior_variance
        return {name: v for name, v in zip(self.names, found.tolist(), strict=True) if name != "shared"}

    def active_units(self) -> int:
        """How many tastes are in use: with a variance above 0.01 ([Burda et al., 2016](https://huggingface.co/papers/1509.00519)). 0 is a collapse, or users who agree."""
        return sum(variance > ACTIVE for variance in self.unit_variances().values())

    def swap_test(
        self, differences: Tensor, labels: Tensor, users: list[str], queries: Tensor | None = None
    ) -> SwapTest:
        """Turn all labels of every user round, and see whether predictions follow.

        Without `shared` they do exactly, by construction. With it they do once a user's pairs outweigh the population, which has not turned round.

        Args:
            differences (`Tensor`): `[n, D]` of the users' labelled pairs.
            labels (`Tensor`): `[n]`.
            users (`list[str]`): n names.
            queries (`Tensor`, *optional*): `[m, D]`, predicted for every user; by default the pairs themselves, each for its own user.
        """
        delta, known = check_answers(differences, labels, self.names)
        if not len(users) == len(known) == len(labels) or not len(known):
            raise InputError(
                f"the swap test needs a label and a user for each pair, and a pair: found {len(users)} users"
            )
        place = {user: index for index, user in enumerate(dict.fromkeys(users))}
        owner = torch.tensor([place[user] for user in users])
        before, after = (self._infer(delta, y, owner, len(place)).mean for y in (known, 1 - known))
        if queries is None:
            margins = ((before[owner] * delta).sum(dim=1), (after[owner] * delta).sum(dim=1))
        else:
            margins = ((before @ queries.double().T).flatten(), (after @ queries.double().T).flatten())
        opposite = torch.nn.functional.cosine_similarity(before, after, dim=1).mean()
        return SwapTest(float((margins[0] * margins[1] < 0).double().mean()), float(opposite), len(margins[0]))

    def table(self) -> str:
        """The tastes and how much they bring, for people."""
        lines = [f"{len(self.users)} users, {self.active_units()} of {len(self.fit.units)} tastes active"]
        if not self.active_units():
            lines[0] += ": the pairs don't show that users differ"
        lines += [f"{name}  variance of users' means {v:.4f}" for name, v in self.unit_variances().items()]
        for row in self.fit.likelihood:
            mark = "  <- kept" if row.groups == len(self.unit_variances()) else ""
            behind = f"{row.behind:.4f} ± {row.behind_error:.4f} behind" if row.behind else "best"
            lines.append(
                f"{row.groups} tastes: {row.mean:.4f} ± {row.standard_error:.4f} nats per held-out pair, {behind}{mark}"
            )
        if self.fit.config.kl_weight != 1:
            lines.append(f"fitted with KL weight {self.fit.config.kl_weight:g}, so intervals are not calibrated")
        return "\n".join(lines)

    # ---- files

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write `latent.json` and `latent.safetensors`, whole or not at all. The embedder is not saved, only its fingerprint."""
        with replace_folder(folder) as beside:
            weights = save_tensors({name: value.contiguous() for name, value in self._tensors().items()})
            (beside / WEIGHTS_NAME).write_bytes(weights)
            content = {
                "schema_version": SCHEMA_VERSION,
                "components": list(self.names),
                "users": list(self.users),
                "refine": self.refine,
                "active_units": self.active_units(),
                "fit": _finite(asdict(self.fit)),
                "embedder": self.embedder.fingerprint if self.embedder is not None else self.fitted_on,
                "weights": hashlib.sha256(weights).hexdigest(),
            }
            write_text(beside / FILE_NAME, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], *, embedder: TextEmbedder | None = None) -> "LatentUsers":
        """Read what [`LatentUsers.save_pretrained`] wrote.

        Args:
            folder (`str` or path): the folder.
            embedder (`TextEmbedder`, *optional*): the one that it was fitted on.

        Raises:
            InputError: a file or field is missing, unknown or wrong, or the embedder is another one.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            raise InputError(f"{folder} holds no latent users: it has no {FILE_NAME}")
        try:
            content = dict(json.loads(path.read_text(encoding="utf-8")))
            return _read(content, path.with_name(WEIGHTS_NAME), embedder)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
        except (OSError, TypeError, ValueError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
            raise InputError(f"{path}: not valid: {error}") from error

    def with_embedder(self, embedder: TextEmbedder) -> "LatentUsers":
        """The same model, reading texts through this embedder.

        Raises:
            InputError: it is not the one that the model was fitted on.
        """
        return replace(self, embedder=embedder)

    # ---- private

    def _differences(self, examples: Sequence[Example]) -> Tensor:
        if not examples:
            return torch.zeros(0, len(self.names), dtype=torch.float64)
        prompts = [example.prompt for example in examples]
        others = [example.other for example in examples if example.other is not None]
        features = self._embedder().embed(prompts * 2, [example.completion for example in examples] + others)
        scores = self.components(features)
        return scores[: len(examples)] - scores[len(examples) :]

    def _infer(self, differences: Tensor, labels: Tensor, owner: Tensor, users: int) -> Gaussians:
        with torch.no_grad():
            prior = Prior(self.prior_mean, self.prior_variance)
            return infer(self.encoder, differences, labels, owner, users, prior, self.refine)

    def _report(self, found: Gaussians, at: int, n: int) -> UserPosterior:
        mean = found.mean[at]
        half = torch.linalg.cholesky(Gaussians(mean[None], found.precision[at][None]).covariance()[0])
        return UserPosterior(self.names, mean + _standard_draws(len(mean)) @ half.T, n, exact_mean=mean)

    def _embedder(self) -> TextEmbedder:
        if self.embedder is None:
            raise InputError("this model was fitted on features: give it an embedder to read texts (with_embedder)")
        return self.embedder

    def _tensors(self) -> dict[str, Tensor]:
        own = {name: getattr(self, name) for name in _TENSORS}
        return own | {f"encoder.{name}": value for name, value in self.encoder.state_dict().items()}


_TENSORS = ("weights", "prior_mean", "prior_variance", "counts", "means", "precisions")
_NUMBERS = ("mean", "standard_error", "behind", "behind_error")
_FIELDS = ("schema_version", "components", "users", "refine", "active_units", "fit", "embedder", "weights")


def _standard_draws(width: int) -> Tensor:
    """`[SAMPLES, width]`: always the same standard normal draws, in opposite twos and whitened: their mean is 0 and their covariance I exactly."""
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(SAMPLES // 2, width, generator=generator, dtype=torch.float64)
    both = torch.cat([half, -half])
    spread = torch.linalg.cholesky(both.T @ both / SAMPLES)
    return torch.linalg.solve_triangular(spread, both.T, upper=False).T


def _finite(value: Any) -> Any:
    """JSON has no infinity, the standard error of a single user: null."""
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(content: dict[str, Any], path: Path, embedder: TextEmbedder | None) -> LatentUsers:
    for name in content:
        if name not in _FIELDS:
            raise unknown_name("field", name, _FIELDS)
    for name in _FIELDS:
        if name not in content:
            raise InputError(f"field '{name}' is missing")
    if content["schema_version"] != SCHEMA_VERSION:
        raise InputError(f"field 'schema_version' must be {SCHEMA_VERSION}, found {content['schema_version']!r}")
    tensors = load_tensors(read_weights(path, content["weights"]))
    fit = dict(content["fit"])
    wanted = {field.name for field in fields(LatentFit)}
    if set(fit) != wanted:
        raise InputError(f"field 'fit' needs {', '.join(sorted(wanted))}, found {', '.join(fit)}")
    fit["config"] = LatentConfig(**fit["config"])
    fit["gain"] = None if fit["gain"] is None else tuple(_number(value) for value in fit["gain"])
    fit["units"] = tuple(map(float, fit["units"]))
    fit["likelihood"] = tuple(_likelihood(row) for row in fit["likelihood"])
    state = {name.removeprefix("encoder."): value for name, value in tensors.items() if name.startswith("encoder.")}
    encoder = PairEncoder(fit["config"].hidden)
    encoder.load_state_dict(state)
    own = {name: tensors[name] for name in _TENSORS}
    if not all(value.isfinite().all() for value in state.values()):
        raise InputError("a weight of the encoder is not finite")
    return LatentUsers(
        tuple(content["components"]),
        **own,
        encoder=encoder.requires_grad_(False),
        refine=int(content["refine"]),
        users=tuple(content["users"]),
        fit=LatentFit(**fit),
        embedder=embedder,
        fitted_on=content["embedder"],
    )


def _likelihood(row: Mapping[str, Any]) -> Likelihood:
    return Likelihood(int(row["groups"]), int(row["left"]), *(_number(row[name]) for name in _NUMBERS))


def _number(value: float | None) -> float:
    """What [`_finite`] left of a number."""
    return math.inf if value is None else float(value)
