/** Weights that stay on the simplex: none negative, their sum 1. */

export type Weights = readonly number[];

export function uniform(count: number): number[] {
  return Array.from({ length: count }, () => 1 / count);
}

/** Scaled to sum 1; negative and unknown parts count as zero, and nothing at all as equal weights. */
export function normalised(values: Weights): number[] {
  const parts = values.map((v) => (Number.isFinite(v) && v > 0 ? v : 0));
  const sum = parts.reduce((a, b) => a + b, 0);
  return sum > 0 ? parts.map((v) => v / sum) : uniform(values.length);
}

/**
 * One weight set, the others scaled so that their proportions stay.
 * Where they are all zero their proportions come from `before`, the last weights of which that was not so.
 */
export function withWeight(weights: Weights, k: number, value: number, before: Weights = weights): number[] {
  const mine = Math.min(1, Math.max(0, value));
  const others = (w: Weights) => w.reduce((sum, v, i) => (i === k ? sum : sum + v), 0);
  let shares: Weights = weights;
  if (others(shares) < 1e-9) shares = others(before) < 1e-9 ? uniform(weights.length) : before;
  const rest = others(shares);
  return weights.map((_, i) => (i === k ? mine : rest > 0 ? ((1 - mine) * shares[i]) / rest : 1 - mine));
}

/** To `digits` decimals with a sum of exactly 1: the largest remainders are rounded up. */
export function rounded(weights: Weights, digits = 2): number[] {
  const unit = 10 ** digits;
  const scaled = normalised(weights).map((w) => w * unit);
  const parts = scaled.map((v) => Math.floor(v + 1e-9));
  let missing = unit - parts.reduce((a, b) => a + b, 0);
  const order = scaled.map((v, i) => [v - parts[i], i] as const).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
  for (const [, i] of order) {
    if (missing <= 0) break;
    parts[i] += 1;
    missing -= 1;
  }
  return parts.map((v) => v / unit);
}

export function distance(a: Weights, b: Weights): number {
  return Math.hypot(...a.map((v, i) => v - b[i]));
}

/** Corners of a triangle of side 1: objective 1 left, 2 right, 3 on top, as in moalign's reports. y grows upwards. */
export const CORNERS = [
  [0, 0],
  [1, 0],
  [0.5, Math.sqrt(0.75)],
] as const;

export function placeOf(weights: Weights): [number, number] {
  const sum = (axis: 0 | 1) => CORNERS.reduce((total, corner, k) => total + corner[axis] * weights[k], 0);
  return [sum(0), sum(1)];
}

/** The weights at a place; a place outside the triangle gets those of the nearest one inside. */
export function weightsAt(x: number, y: number): number[] {
  const top = y / CORNERS[2][1];
  return nearestOnSimplex([1 - x - top / 2, x - top / 2, top]);
}

/** Euclidean projection of numbers with sum 1 onto the simplex (for three of them, also that of the triangle). */
export function nearestOnSimplex(values: Weights): number[] {
  const sorted = [...values].sort((a, b) => b - a);
  let sum = 0;
  let shift = 0;
  sorted.forEach((v, i) => {
    sum += v;
    const candidate = (sum - 1) / (i + 1);
    if (v > candidate) shift = candidate;
  });
  return values.map((v) => Math.max(0, v - shift));
}
