/** Numbers and weights in words. */
import { rounded, type Weights } from "./simplex";

/** Three significant digits, as few as are needed, with a real minus sign. */
export function number(value: number): string {
  if (!Number.isFinite(value)) return "unknown";
  const size = Math.abs(value);
  const text = size !== 0 && (size >= 1e5 || size < 1e-3) ? value.toPrecision(2) : value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}

export function inWords(weights: Weights, names: readonly string[]): string {
  return rounded(weights).map((w, k) => `${names[k]}\u00a0${w.toFixed(2)}`).join(", ");
}

export function plural(count: number, one: string): string {
  return `${count} ${one}${count === 1 ? "" : "s"}`;
}
