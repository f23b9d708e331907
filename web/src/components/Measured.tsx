import { useRef } from "preact/hooks";
import { useSignal } from "@preact/signals";
import { colourOf } from "../model/colours";
import type { Point } from "../model/front";
import type { Scale } from "../model/scale";

interface Props {
  points: readonly Point[];
  place: (rewards: readonly number[]) => [number, number];
  ends: [number, number];
  across: Scale;
  up: Scale;
  onTake: (point: Point) => void;
  onShow: (point: Point | null) => void;
}

/** The measured points. One of them can have the keyboard's focus: arrows go to the next one, Enter takes its weights. */
export function Measured({ points, place, ends: [x, y], across, up, onTake, onShow }: Props) {
  const group = useRef<SVGGElement>(null);
  const focused = useSignal(0);
  const ordered = [...points].sort((a, b) => a.rewards[x] - b.rewards[x] || a.index - b.index);
  const go = (to: number) => {
    focused.value = (to + ordered.length) % ordered.length;
    (group.current!.children[focused.value] as SVGGElement).focus();
  };
  const onKeyDown = (event: KeyboardEvent, i: number) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    const taken = event.key === "Enter" || event.key === " ";
    if (step === undefined && !taken) return;
    event.preventDefault();
    if (taken) onTake(ordered[i]);
    else go(i + step!);
  };
  const line = (a: number, b: number, at: number, flat: boolean) =>
    flat ? { x1: across.place(a), x2: across.place(b), y1: at, y2: at } : { x1: at, x2: at, y1: up.place(a), y2: up.place(b) };
  return (
    <g ref={group} class="measured-points">
      {ordered.map((point, i) => {
        const [px, py] = place(point.rewards);
        const colour = point.weights ? colourOf(point.weights) : undefined;
        return (
          <g
            key={point.index}
            class="point"
            id={`point-${point.index}`}
            role="button"
            tabindex={i === Math.min(focused.value, ordered.length - 1) ? 0 : -1}
            aria-label={point.label}
            onKeyDown={(event) => onKeyDown(event, i)}
            onFocus={() => onShow(point)}
            onBlur={() => onShow(null)}
          >
            {Number.isFinite(point.low[x]) && <line {...line(point.low[x], point.high[x], py, true)} />}
            {Number.isFinite(point.low[y]) && <line {...line(point.low[y], point.high[y], px, false)} />}
            <circle cx={px} cy={py} r="4.5" fill={colour} class={colour ? undefined : "unknown"} />
          </g>
        );
      })}
    </g>
  );
}
