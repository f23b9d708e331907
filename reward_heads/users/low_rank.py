"""Users as mixtures of a few learned rewards: someone new is a point on a simplex, known from a handful of pairs."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from frontier.errors import InputError
from reward_heads.probes.embedder import TextEmbedder
from reward_heads.text import Text
from reward_heads.users.choose import Likelihood
from reward_heads.users.posterior import UserPosterior
from reward_heads.users.simplex_saved import read, write
from reward_heads.users.simplex_users import SimplexUsers, pairs_of


@dataclass(frozen=True)
class LowRankUsers(SimplexUsers):
    r"""A low-rank reward model ([LoRe](https://huggingface.co/papers/2504.14439), eq. 4) with a population: $r_u(x, y) = \phi(x, y)^\top V w_u$, w_u on the simplex.

    A [`UserModel`] whose components are the bases, the columns of V, the one with the largest mean weight first; also a vector reward of the bases where there is an embedder.
    What is identified: a user's taste $V w_u$ and everything that follows from it (`taste_of`, `prefers`). V and w_u by themselves are not: another simplex around the same
    tastes says the same; the fit takes the smallest. For weights that mean something in themselves use known objectives, [`fit_objective_users`].

    Args:
        bases (`Tensor`): `[d, B]` float64, V, nats per unit of each feature; only differences of scores mean something.
        likelihood (`tuple[Likelihood, ...]`): held-out log-likelihood by rank (its `groups`); empty if nothing was held out.
        embedder (`TextEmbedder`, *optional*): what reads texts.
        fitted_on (`str`, *optional*): fingerprint of the embedder that made the features of the fit; no other is taken.

    Raises:
        InputError: shapes don't fit, or the embedder is another one.
    """

    bases: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    likelihood: tuple[Likelihood, ...] = ()
    embedder: TextEmbedder | None = None
    fitted_on: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bases.dim() != 2 or self.bases.shape[1] != len(self.names) or not self.bases.isfinite().all():
            raise InputError(f"bases must be finite and [d, {len(self.names)}], found {list(self.bases.shape)}")
        if self.embedder is not None and self.embedder.width != len(self.bases):
            raise InputError(f"the bases read {len(self.bases)} features, but the embedder gives {self.embedder.width}")
        if self.embedder is not None and self.fitted_on is not None and self.embedder.fingerprint != self.fitted_on:
            raise InputError("the bases were fitted on the vectors of another embedder")

    @property
    def objectives(self) -> tuple[str, ...]:
        """The bases; see [`VectorReward`]."""
        return self.names

    def score(self, prompts: Sequence[Text], completions: Sequence[Text]) -> Tensor:
        """`[N, B]` float32: what each base gives; see [`VectorReward.score`].

        Raises:
            InputError: there is no embedder, or the batch does not pair up.
        """
        return (self._embedder().embed(prompts, completions).double() @ self.bases).float()

    def components(self, features: Tensor) -> Tensor:
        """`[..., d]` features (or differences of features) to `[..., B]` float64, what each base gives."""
        return features.detach().to("cpu", torch.float64) @ self.bases

    def differences(self, pairs: Iterable[Mapping[str, Any]]) -> Tensor:
        """See [`UserModel.differences`]."""
        return self._read(pairs)[0]

    def posterior(self, pairs: Iterable[Mapping[str, Any]]) -> UserPosterior:
        """See [`UserModel.posterior`]."""
        return self.posterior_of(*self._read(pairs))

    def taste_of(self, posterior: UserPosterior) -> Tensor:
        """`[d]`: the posterior mean of a user's V w, the head of the user's own reward on the features."""
        return self.bases @ posterior.mean

    def with_embedder(self, embedder: TextEmbedder) -> "LowRankUsers":
        """The same model, reading texts through this embedder.

        Raises:
            InputError: it is not the one that the model was fitted on.
        """
        return replace(self, embedder=embedder)

    def table(self) -> str:
        """The bases' weights in the population, and the held-out likelihood by rank, for people."""
        lines = [super().table()]
        if self.likelihood:
            lines.append("\nrank  held-out log-likelihood per pair   behind the best")
        for row in self.likelihood:
            behind = f"{row.behind:.4f} ± {row.behind_error:.4f}" if row.behind else "best"
            mark = "  <- chosen" if row.groups == len(self.names) else ""
            lines.append(f"{row.groups:4d}  {row.mean:.4f} ± {row.standard_error:.4f}                  {behind}{mark}")
        return "\n".join(lines)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write `low_rank.json` and `low_rank.safetensors`, whole or not at all. The embedder is not saved, only its fingerprint."""
        more = {
            "likelihood": [{name: str(value) for name, value in asdict(row).items()} for row in self.likelihood],
            "embedder": self.embedder.fingerprint if self.embedder is not None else self.fitted_on,
        }
        write(folder, "bases", self, more, {"bases": self.bases})

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], *, embedder: TextEmbedder | None = None) -> "LowRankUsers":
        """Read what `save_pretrained` wrote.

        Args:
            folder (`str` or path): the folder.
            embedder (`TextEmbedder`, *optional*): the one that it was fitted on, to read texts.

        Raises:
            InputError: a file or field is missing, unknown or wrong, or the embedder is another one.
        """
        own, more, tensors = read(folder, "bases", ("likelihood", "embedder"), ("bases",))
        wanted = {f.name for f in fields(Likelihood)}
        rows = []
        for row in more["likelihood"]:
            if set(row) != wanted:
                raise InputError(
                    f"{folder}: a row of 'likelihood' needs {', '.join(sorted(wanted))}, found {', '.join(row)}"
                )
            measured = {name: float(row[name]) for name in ("mean", "standard_error", "behind", "behind_error")}
            rows.append(Likelihood(int(row["groups"]), int(row["left"]), **measured))
        read_by = {"embedder": embedder, "fitted_on": more["embedder"]}
        return cls(**own, bases=tensors["bases"], likelihood=tuple(rows), **read_by)

    def _embedder(self) -> TextEmbedder:
        if self.embedder is None:
            raise InputError("this model has no embedder to read texts with: give it one (with_embedder)")
        return self.embedder

    def _read(self, rows: Iterable[Mapping[str, Any]]) -> tuple[Tensor, Tensor]:
        examples, labels = pairs_of(rows, self.objective)
        if not examples:
            return torch.empty(0, len(self.names), dtype=torch.float64), labels
        prompts = [example.prompt for example in examples]
        others = [example.other for example in examples if example.other is not None]
        features = self._embedder().embed(prompts * 2, [example.completion for example in examples] + others)
        a, b = features.double().chunk(2)
        return (a - b) @ self.bases, labels
