import { useRef } from "preact/hooks";
import { triangleCells } from "../model/colours";
import { nearestOnSimplex, placeOf, weightsAt, type Weights } from "../model/simplex";
import { inWords } from "../model/text";
import { marks } from "../state/marks";
import { front, objectives } from "../state/server";
import { edited, setWeights } from "../state/tastes";
import { Badge } from "./Badge";

const SIDE = 210;
const LEFT = 20;
const TOP = 30;
const WIDTH = SIDE + 2 * LEFT;
const HEIGHT = TOP + SIDE * Math.sqrt(0.75) + 34;
const CELLS = triangleCells();
const STEP = 0.02;
// What a key does to (left, right, top).
const MOVES: Record<string, Weights> = {
  ArrowLeft: [STEP, -STEP, 0],
  ArrowRight: [-STEP, STEP, 0],
  ArrowUp: [-STEP / 2, -STEP / 2, STEP],
  ArrowDown: [STEP / 2, STEP / 2, -STEP],
};

const pixel = (weights: Weights): [number, number] => {
  const [x, y] = placeOf(weights);
  return [LEFT + x * SIDE, TOP + (Math.sqrt(0.75) - y) * SIDE];
};
const path = (corners: readonly Weights[]) => `M${corners.map((c) => pixel(c).map((v) => v.toFixed(1)).join(" ")).join("L")}Z`;

/** The weights of three objectives as a place in a triangle: drag, tap, or move with the arrow keys. */
export function Triangle() {
  const svg = useRef<SVGSVGElement>(null);
  const names = objectives.value;
  const point = (event: PointerEvent) => {
    const box = svg.current!.getBoundingClientRect();
    const scale = WIDTH / box.width;
    const x = ((event.clientX - box.left) * scale - LEFT) / SIDE;
    const y = Math.sqrt(0.75) - ((event.clientY - box.top) * scale - TOP) / SIDE;
    setWeights(weightsAt(x, y));
  };
  const onPointerDown = (event: PointerEvent) => {
    svg.current!.setPointerCapture(event.pointerId);
    point(event);
  };
  const onPointerMove = (event: PointerEvent) => {
    if (svg.current!.hasPointerCapture(event.pointerId)) point(event);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const move = MOVES[event.key];
    if (!move) return;
    event.preventDefault();
    setWeights(nearestOnSimplex(edited.value.map((w, k) => w + move[k] * (event.shiftKey ? 5 : 1))));
  };
  return (
    <svg
      ref={svg}
      id="triangle"
      class="triangle"
      viewBox={`0 0 ${WIDTH} ${HEIGHT.toFixed(0)}`}
      role="slider"
      tabindex={0}
      aria-label={`Weights of ${names.join(", ")}: arrow keys move towards a corner`}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(100 * edited.value[2])}
      aria-valuetext={inWords(edited.value, names)}
      onPointerDown={onPointerDown}
      onPointerMove={onPointerMove}
      onKeyDown={onKeyDown}
    >
      <g class="cells">
        {CELLS.map(({ shares, colour }) => <path d={path(shares)} fill={colour} stroke={colour} />)}
      </g>
      <path class="outline" d={path([[1, 0, 0], [0, 1, 0], [0, 0, 1]])} />
      {front.value?.points.map((p) => p.weights && <circle class="measured" key={p.index} cx={pixel(p.weights)[0]} cy={pixel(p.weights)[1]} r="2" />)}
      {marks.value.map(({ letter, weights, colour, active }) => {
        const [x, y] = pixel(weights);
        return <Badge key={letter} x={x} y={y} letter={letter} colour={colour} active={active} />;
      })}
      <text class="corner" x={WIDTH / 2} y="12" text-anchor="middle">{short(names[2], 26)}</text>
      <text class="corner" x="2" y={HEIGHT - 5} text-anchor="start">{short(names[0], 15)}</text>
      <text class="corner" x={WIDTH - 2} y={HEIGHT - 5} text-anchor="end">{short(names[1], 15)}</text>
    </svg>
  );
}

const short = (name: string, most: number) => (name.length > most ? `${name.slice(0, most - 1)}…` : name);
