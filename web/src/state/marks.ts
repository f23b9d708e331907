/** What is marked on the plots: every taste that is compared; while the page asks, the reader's weights and the two points of the question. */
import { computed } from "@preact/signals";
import { colourOf } from "../model/colours";
import { weightsOf, type Expected } from "../model/front";
import type { Weights } from "../model/simplex";
import { expectedAt } from "./expected";
import { front, objectives } from "./server";
import { editing, LETTERS, mode, tastes } from "./tastes";
import { talk } from "./talk";

export interface Mark {
  letter: string;
  weights: Weights;
  colour: string;
  active: boolean;
  expected: Expected | null;
}

export const YOU = "★";

const mark = (letter: string, weights: Weights, active: boolean, expected: Expected | null): Mark => ({
  letter,
  weights,
  colour: colourOf(weights),
  active,
  expected,
});

/** The active one comes last, so that it lies on top. */
export const marks = computed<Mark[]>(() => {
  const measured = front.value;
  if (mode.value === "explore") {
    const all = tastes.value.map(({ weights }, i) => mark(LETTERS[i], weights, i === editing.value, expectedAt(weights)));
    return all.sort((a, b) => Number(a.active) - Number(b.active));
  }
  const asked = (["a", "b"] as const).flatMap((side) => {
    const point = talk.value?.question?.[side];
    const weights = point && weightsOf(point.preference, objectives.value);
    if (!point || !weights) return [];
    const rewards = objectives.value.map((name) => point.rewards[name]);
    const measuredPoint = measured?.points[point.index];
    const ends = (end: "low" | "high") => measuredPoint?.[end] ?? rewards.map(() => NaN);
    return [mark(side.toUpperCase(), weights, false, { mean: rewards, low: ends("low"), high: ends("high") })];
  });
  const own = tastes.value[0].weights;
  return [...asked, mark(YOU, own, true, expectedAt(own))];
});
