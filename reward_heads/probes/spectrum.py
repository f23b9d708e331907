"""The eigenvectors of a design matrix, found once: every penalty after that costs next to nothing."""

from dataclasses import dataclass

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Spectrum:
    r"""Eigenvectors and eigenvalues of $X^\top X$ for a design $X$ `[n, d]`; r = d if n ≥ d, else its rank.

    Args:
        directions (`Array`): `[d, r]`, orthonormal columns; they span every row of X.
        values (`Array`): `[r]`, not negative.
    """

    directions: Array
    values: Array

    @classmethod
    def of(cls, x: Array) -> "Spectrum":
        """Decompose a design, by the smaller of its two Gram matrices."""
        n, d = x.shape
        if n >= d:
            values, directions = np.linalg.eigh(x.T @ x)
            return cls(directions, values.clip(min=0.0))
        values, left = np.linalg.eigh(x @ x.T)
        kept = values > 1e-12 * max(values[-1], np.finfo(float).tiny)
        # Squared singular values carry noise of 1e-16 of the largest: beyond it there are no directions, only rounding.
        directions, _ = np.linalg.qr(x.T @ (left[:, kept] / np.sqrt(values[kept])))
        return cls(directions, np.square(x @ directions).sum(axis=0))

    def variance(self, x: Array, precision: float) -> Array:
        r"""$x^\top (X^\top X + \alpha I)^{-1} x$ of rows `[N, d]`, with α = `precision`: `[N]`."""
        along = x @ self.directions
        found = (np.square(along) / (self.values + precision)).sum(axis=1)
        if self.directions.shape[1] < self.directions.shape[0]:  # directions without data keep the prior's variance
            found = found + (np.square(x).sum(axis=1) - np.square(along).sum(axis=1)).clip(min=0.0) / precision
        return found
