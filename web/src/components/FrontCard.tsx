import { useSignal } from "@preact/signals";
import { front, objectives } from "../state/server";
import { inWords, number } from "../model/text";
import type { Front, Point } from "../model/front";
import { FrontPlot } from "./FrontPlot";

/** The measured front in the plane of two objectives that the reader picks. */
export function FrontCard() {
  const x = useSignal(0);
  const y = useSignal(1);
  const shown = useSignal<Point | null>(null);
  const names = objectives.value;
  if (front.value === null || names.length < 2) return null;
  const choose = (mine: typeof x, other: typeof x, value: number) => {
    if (other.value === value) other.value = mine.value;
    mine.value = value;
  };
  const axis = (id: string, label: string, mine: typeof x, other: typeof x) => (
    <label class="axis">
      <span>{label}</span>
      <select id={id} value={mine.value} onChange={(e) => choose(mine, other, Number(e.currentTarget.value))}>
        {names.map((name, k) => <option key={name} value={k}>{name}</option>)}
      </select>
    </label>
  );
  return (
    <section class="card front" aria-labelledby="front-title">
      <div class="heading">
        <h2 id="front-title">The front</h2>
        {names.length > 2 && <div class="axes">{axis("axis-x", "across", x, y)}{axis("axis-y", "up", y, x)}</div>}
      </div>
      <FrontPlot front={front.value} x={x.value} y={y.value} onShow={(point) => (shown.value = point)} />
      <p class="note legend" aria-live="polite">{shown.value ? described(shown.value, names) : legend(front.value)}</p>
    </section>
  );
}

const legend = ({ level, reference }: Front) =>
  `Dots: measured, with ${Math.round(100 * level)} % intervals; choose one to take its weights. Dashed: equally good for these weights.${reference ? " Cross: before training." : ""}`;

function described(point: Point, names: readonly string[]): string {
  const rewards = names.map((name, k) => `${name} ${number(point.rewards[k])}`).join(", ");
  const name = point.label[0].toUpperCase() + point.label.slice(1);
  return point.weights ? `${name}. Weights: ${inWords(point.weights, names)}. Rewards: ${rewards}.` : `${name}, measured at no weights. Rewards: ${rewards}.`;
}
