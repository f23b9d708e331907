import type { Expected, Front } from "../model/front";
import { range } from "../model/scale";
import { number } from "../model/text";

interface Props {
  front: Front;
  expected: Expected;
  k: number;
  tone: string;
}

/** The expected reward of one objective with its interval, placed between the least and the most that was measured. */
export function Expectation({ front, expected, k, tone }: Props) {
  const { mean, low, high } = { mean: expected.mean[k], low: expected.low[k], high: expected.high[k] };
  const known = Number.isFinite(low) && Number.isFinite(high);
  const [from, to] = range(front.points.flatMap((p) => [p.rewards[k], p.low[k], p.high[k]]), 0.02);
  const share = (value: number) => Math.min(1, Math.max(0, (value - from) / (to - from)));
  return (
    <p class="expectation" style={{ "--tone": tone, "--at": share(mean), "--low": known ? share(low) : share(mean), "--high": known ? share(high) : share(mean) }}>
      <span class="gauge" aria-hidden="true"><i class="range" /><i class="dot" /></span>
      <span class="figures">
        expected <strong id={`expected-${k}`}>{number(mean)}</strong>
        {known && <small>{number(low)} to {number(high)}</small>}
      </span>
    </p>
  );
}
