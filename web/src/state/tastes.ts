/** The tastes that are compared: each a set of weights and a letter; the sliders move one of them. */
import { computed, signal } from "@preact/signals";
import { normalised, uniform, withWeight, type Weights } from "../model/simplex";

export interface Taste {
  weights: Weights;
  /** The last weights at which more than one objective counted: the proportions that a slider coming back from 1 restores. */
  before: Weights;
}

export type Mode = "explore" | "find";
export const MOST = 3;
export const LETTERS = ["A", "B", "C"] as const;

export const mode = signal<Mode>("explore");
export const tastes = signal<Taste[]>([]);
const active = signal(0);
/** How far the weights found for the reader may be off, until a slider is moved by hand. */
export const spread = signal<{ low: number[]; high: number[] } | null>(null);

/** Which taste the sliders move: the reader's own, the first, while the page asks questions. */
export const editing = computed(() => (mode.value === "find" ? 0 : Math.min(active.value, tastes.value.length - 1)));
export const edited = computed<Weights>(() => tastes.value[editing.value]?.weights ?? []);

const taste = (weights: Weights): Taste => ({ weights, before: weights });

/** Start with the model's own weights, and all weight on the last objective to compare with. */
export function begin(weights: Weights): void {
  const other = weights.map((_, k) => (k === weights.length - 1 ? 1 : 0));
  tastes.value = weights.length > 1 ? [taste(weights), taste(other)] : [taste(weights)];
  spread.value = null;
  active.value = 0;
}

export function edit(index: number): void {
  active.value = index;
}

export function setWeights(weights: Weights, index = editing.value): void {
  replace(index, normalised(weights));
}

export function setWeight(k: number, value: number): void {
  const { weights, before } = tastes.value[editing.value];
  replace(editing.value, withWeight(weights, k, value, before));
}

/** Weights that the server found for the reader, with how sure it is. */
export function found(mean: Weights, low: number[], high: number[]): void {
  replace(0, normalised(mean));
  spread.value = { low, high };
}

function replace(index: number, weights: Weights): void {
  if (index === 0) spread.value = null;
  tastes.value = tastes.value.map((old, i) => {
    if (i !== index) return old;
    const several = weights.filter((w) => w > 1e-9).length > 1;
    return { weights, before: several ? weights : old.before };
  });
}

export function addTaste(): void {
  const count = edited.value.length;
  const first = Array.from({ length: count }, (_, k) => (k === 0 ? 1 : 0));
  const taken = tastes.value.some((t) => t.weights[0] > 0.99);
  tastes.value = [...tastes.value, taste(taken ? uniform(count) : first)];
  active.value = tastes.value.length - 1;
}

export function removeTaste(index: number): void {
  if (index === 0) spread.value = null; // it was of the weights that go
  tastes.value = tastes.value.filter((_, i) => i !== index);
  if (active.value >= index) active.value = Math.max(0, active.value - 1);
}
