import { toneOf } from "../model/colours";
import type { Weights } from "../model/simplex";

/** Weights as a bar of shares. The words beside it say the same. */
export function Shares({ weights }: { weights: Weights }) {
  return (
    <div class="shares" aria-hidden="true">
      {weights.map((w, k) => <i key={k} style={{ "--share": w, "--tone": toneOf(k, weights.length) }} />)}
    </div>
  );
}
