/** The colours of weights: three objectives mix three hues and two lie on a scale, as in moalign's plots; more mix a hue each. */
import type { Weights } from "./simplex";

const BASE = ["#1a52b0", "#d9500b", "#f2c500"];
// The first three are those of three objectives.
const HUES = [...BASE, "#7fb4d8", "#4f1d63", "#2f8f6b", "#b83289"];
const SCALE = ["#0d0887", "#5302a3", "#8b0aa5", "#b83289", "#db5c68", "#f48849", "#febd2a"];

type Triple = [number, number, number];
// Björn Ottosson's OKLab: a mixture taken there has a lightness between those of its parts.
const TO_LMS: Triple[] = [
  [0.4122214708, 0.5363325363, 0.0514459929],
  [0.2119034982, 0.6806995451, 0.1073969566],
  [0.0883024619, 0.2817188376, 0.6299787005],
];
const FROM_LMS: Triple[] = [
  [4.0767416621, -3.3077115913, 0.2309699292],
  [-1.2684380046, 2.6097574011, -0.3413193965],
  [-0.0041960863, -0.7034186147, 1.707614701],
];

const times = (m: Triple[], v: Triple) => m.map((row) => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]) as Triple;

function linear(hex: string): Triple {
  return [1, 3, 5].map((i) => {
    const c = parseInt(hex.slice(i, i + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  }) as Triple;
}

function encoded(rgb: Triple): string {
  const part = (c: number) => {
    const v = Math.min(1, Math.max(0, c));
    return Math.round(255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * v ** (1 / 2.4) - 0.055));
  };
  return `#${rgb.map((c) => part(c).toString(16).padStart(2, "0")).join("")}`;
}

function mix(colours: string[], shares: Weights): string {
  const sum = shares.reduce((a, b) => a + b, 0) || 1;
  const mixed: Triple = [0, 0, 0];
  colours.forEach((colour, i) => {
    times(TO_LMS, linear(colour)).forEach((v, c) => (mixed[c] += (Math.cbrt(v) * shares[i]) / sum));
  });
  return encoded(times(FROM_LMS, mixed.map((v) => v ** 3) as Triple));
}

export function colourOf(weights: Weights): string {
  if (weights.length > 2) return mix(weights.map((_, k) => toneOf(k, weights.length)), weights);
  const at = Math.min(Math.max(weights[0], 0), 1) * (SCALE.length - 1);
  const left = Math.min(Math.floor(at), SCALE.length - 2);
  return mix(SCALE.slice(left, left + 2), [1 - (at - left), at - left]);
}

/** The colour of one objective alone. */
export function toneOf(k: number, count: number): string {
  return count < 3 ? [SCALE[5], SCALE[1]][k] : HUES[k % HUES.length];
}

/** Black or white, whichever is easier to read on a colour. */
export function inkOn(colour: string): string {
  const [r, g, b] = linear(colour);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.22 ? "#14161a" : "#ffffff";
}

/** The small triangles of the ternary key: corners in a triangle of side 1, and their colour. */
export function triangleCells(steps = 12): { shares: Weights[]; colour: string }[] {
  const cells: { shares: Weights[]; colour: string }[] = [];
  const add = (corners: number[][]) => {
    const shares = corners.map((corner) => corner.map((v) => v / steps));
    cells.push({ shares, colour: mix(BASE, [0, 1, 2].map((k) => shares.reduce((s, c) => s + c[k], 0) / 3)) });
  };
  for (let i = 0; i < steps; i++) {
    for (let j = 0; j < steps - i; j++) {
      const k = steps - 1 - i - j;
      add([[i + 1, j, k], [i, j + 1, k], [i, j, k + 1]]);
      if (k > 0) add([[i + 1, j + 1, k - 1], [i, j + 1, k], [i + 1, j, k]]);
    }
  }
  return cells;
}
