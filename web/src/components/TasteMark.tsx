import type { Expected } from "../model/front";
import type { Scale } from "../model/scale";
import type { Mark } from "../state/marks";
import { Badge } from "./Badge";

/** A taste at its expected rewards, with its intervals. */
export function TasteMark({ mark, expected, x, y, across, up }: { mark: Mark; expected: Expected; x: number; y: number; across: Scale; up: Scale }) {
  const [px, py] = [across.place(expected.mean[x]), up.place(expected.mean[y])];
  const known = Number.isFinite(expected.low[x]) && Number.isFinite(expected.low[y]);
  return (
    <g class={mark.active ? "taste active" : "taste"} id={mark.active ? "chosen" : undefined} data-x={expected.mean[x]} data-y={expected.mean[y]}>
      {known && mark.active && (
        <rect
          class="uncertain"
          x={across.place(expected.low[x])}
          y={up.place(expected.high[y])}
          width={across.place(expected.high[x]) - across.place(expected.low[x])}
          height={up.place(expected.low[y]) - up.place(expected.high[y])}
          rx="6"
        />
      )}
      <Badge x={px} y={py} letter={mark.letter} colour={mark.colour} active={mark.active} />
    </g>
  );
}
