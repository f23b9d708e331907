import { setWeight } from "../state/tastes";

interface Props {
  name: string;
  k: number;
  value: number;
  /** Rounded so that all sum to 1. */
  shown: number;
  tone: string;
  low?: number;
  high?: number;
}

/** One weight. Moving it moves the others so that all sum to 1; a band shows how sure the server is of a weight that it found. */
export function WeightSlider({ name, k, value, shown, tone, low, high }: Props) {
  const known = low !== undefined && high !== undefined && Number.isFinite(low) && Number.isFinite(high);
  const said = known ? `${shown.toFixed(2)}, likely ${low.toFixed(2)} to ${high.toFixed(2)}` : shown.toFixed(2);
  return (
    <div class="slider" style={{ "--tone": tone, "--share": value, "--low": known ? low : 0, "--high": known ? high : 0 }}>
      <label for={`weight-${k}`}>{name}</label>
      <output for={`weight-${k}`} id={`weight-${k}-value`}>{shown.toFixed(2)}</output>
      <div class="groove">
        <span class="fill" aria-hidden="true" />
        {known && <span class="band" aria-hidden="true" />}
        <input
          type="range"
          id={`weight-${k}`}
          min="0"
          max="1"
          step="0.01"
          value={value}
          aria-valuetext={said}
          onInput={(event) => setWeight(k, Number(event.currentTarget.value))}
        />
      </div>
    </div>
  );
}
