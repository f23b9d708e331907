/** Data to pixels, with ticks at round numbers. */

export interface Scale {
  from: number;
  to: number;
  place: (value: number) => number;
  value: (place: number) => number;
}

export function scale(from: number, to: number, start: number, end: number): Scale {
  return {
    from,
    to,
    place: (value) => start + ((value - from) / (to - from)) * (end - start),
    value: (place) => from + ((place - start) / (end - start)) * (to - from),
  };
}

/** The range of values with a margin; a single value gets room around it. */
export function range(values: readonly number[], margin = 0.08): [number, number] {
  const known = values.filter(Number.isFinite);
  const low = Math.min(...known);
  const high = Math.max(...known);
  const room = (high - low || Math.abs(high) || 1) * margin;
  return [low - room, high + room];
}

export function ticks(from: number, to: number, wanted: number): number[] {
  const raw = (to - from) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999) ?? 10 * power;
  const first = Math.ceil(from / step - 1e-9);
  const last = Math.floor(to / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}
