/** What to expect of weights: an estimate while they move, the server's own figures once they rest. */
import { effect, signal } from "@preact/signals";
import { ask } from "../api/client";
import type { PickReply } from "../api/types";
import { estimatedAt, type Expected } from "../model/front";
import type { Weights } from "../model/simplex";
import { asPreference, front, objectives } from "./server";
import { tastes } from "./tastes";

const REST = 200;
const KEPT = 200;
const told = signal(new Map<string, Expected>());

const keyOf = (weights: Weights) => JSON.stringify(asPreference(weights));

export function expectedAt(weights: Weights): Expected | null {
  return told.value.get(keyOf(weights)) ?? estimatedAt(front.value, weights);
}

export function askWhatToExpect(): () => void {
  let resting: ReturnType<typeof setTimeout> | undefined;
  return effect(() => {
    const wanted = front.value && objectives.value.length > 1 ? tastes.value.map((taste) => taste.weights) : [];
    clearTimeout(resting);
    resting = setTimeout(() => wanted.forEach((weights) => void learn(weights)), REST);
  });
}

async function learn(weights: Weights): Promise<void> {
  const key = keyOf(weights);
  if (told.value.has(key)) return;
  try {
    const { expected } = await ask<PickReply>("v1/preferences/pick", { preference: asPreference(weights) });
    const each = (end: "mean" | "low" | "high") => objectives.value.map((name) => expected[name][end] ?? NaN);
    const kept = [...told.value].slice(-KEPT);
    told.value = new Map([...kept, [key, { mean: each("mean"), low: each("low"), high: each("high") }]]);
  } catch {
    // Outside of what was measured, or asked too often: the estimate stays.
  }
}
