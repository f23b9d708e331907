/** The measured front as the page needs it: arrays in the order of the objectives. */
import type { FrontReply } from "../api/types";
import { distance, type Weights } from "./simplex";

export interface Point {
  index: number;
  label: string;
  weights: Weights | null;
  preference: unknown;
  rewards: number[];
  /** Ends of the interval of each mean reward; NaN = not known. */
  low: number[];
  high: number[];
  sample: string;
}

export interface Front {
  objectives: string[];
  unit: string;
  level: number;
  /** The policy before training, where it was measured. */
  reference: number[] | null;
  points: Point[];
}

export interface Expected {
  mean: number[];
  low: number[];
  high: number[];
}

/**
 * In the order of the model's objectives, as weights and sliders are; the front's own may be another one.
 *
 * What a front does not know of an objective is NaN.
 */
export function frontOf(reply: FrontReply, names: readonly string[]): Front {
  const points = reply.points.map((point, index) => {
    const rewards = names.map((name) => point.rewards[name] ?? NaN);
    const ends = (side: 0 | 1) => names.map((name) => point.interval?.[name]?.[side] ?? NaN);
    return {
      index,
      label: point.label ? `point ${index}, ${point.label}` : `point ${index}`,
      weights: point.offered === false ? null : weightsOf(point.preference, names),
      preference: point.preference,
      rewards,
      low: ends(0),
      high: ends(1),
      sample: point.sample ?? "",
    };
  });
  const base = reply.reference_policy;
  return {
    objectives: [...names],
    unit: reply.units === "normalized" ? "normalised reward" : "reward",
    level: reply.level ?? 0.95,
    reference: base ? names.map((name) => base.rewards[name] ?? NaN) : null,
    points,
  };
}

/** The weights that a preference stands for, or none: a direction without negative components has the weights of its proportions. */
export function weightsOf(preference: unknown, names: readonly string[]): number[] | null {
  const given = preference as Record<string, Record<string, number>> | null | undefined;
  const values = given?.weights ?? given?.direction;
  if (!values) return null;
  const parts = names.map((name) => values[name] ?? 0);
  const sum = parts.reduce((a, b) => a + b, 0);
  return parts.every((v) => v >= 0) && sum > 0 ? parts.map((v) => v / sum) : null;
}

/**
 * An estimate of what to expect at weights, from the measured points around them, while the server has not been asked.
 *
 * Intervals are averaged like means, as if the errors of neighbours went together.
 */
export function estimatedAt(front: Front | null, weights: Weights): Expected | null {
  const near = (front?.points ?? [])
    .filter((point) => point.weights !== null)
    .map((point) => ({ point, d: distance(point.weights!, weights) }))
    .sort((a, b) => a.d - b.d);
  if (!near.length) return null;
  const shares = near[0].d < 1e-6 ? [1] : weights.length === 2 ? straight(near, weights) : nearby(near, weights.length);
  const mean = (pick: (point: Point) => number[]) =>
    weights.map((_, k) => shares.reduce((total, share, i) => (share ? total + share * pick(near[i].point)[k] : total), 0));
  return { mean: mean((p) => p.rewards), low: mean((p) => p.low), high: mean((p) => p.high) };
}

interface Near {
  point: Point;
  d: number;
}

/** Two objectives: along the line between the neighbours on either side, as the server does it. */
function straight(near: Near[], weights: Weights): number[] {
  const side = ({ point }: Near) => Math.sign(point.weights![0] - weights[0]);
  const other = near.findIndex((n) => side(n) === -side(near[0]));
  if (other < 0) return [1];
  const all = near[0].d + near[other].d;
  return near.map(({ d }, i) => (i === 0 || i === other ? 1 - d / all : 0));
}

/** More objectives: inverse distances that reach zero at the first point left out (Franke and Little), so that nothing jumps as the weights move. */
function nearby(near: Near[], count: number): number[] {
  const reach = near.length > count ? near[count].d * (1 + 1e-9) : near[near.length - 1].d + 1;
  const shares = near.map(({ d }) => (d < reach ? ((reach - d) / (reach * d)) ** 2 : 0));
  const sum = shares.reduce((a, b) => a + b, 0);
  return sum > 0 ? shares.map((share) => share / sum) : [1];
}

/** Points that no other one dominates, in the plane of two objectives, from left to right. */
export function outline(points: readonly Point[], x: number, y: number): Point[] {
  const kept = points.filter(
    (p) => !points.some((q) => q.rewards[x] >= p.rewards[x] && q.rewards[y] >= p.rewards[y] && (q.rewards[x] > p.rewards[x] || q.rewards[y] > p.rewards[y])),
  );
  return kept.sort((a, b) => a.rewards[x] - b.rewards[x]);
}
