import { useRef } from "preact/hooks";
import type { Front, Point } from "../model/front";
import { outline } from "../model/front";
import { range, scale } from "../model/scale";
import { marks } from "../state/marks";
import { setWeights } from "../state/tastes";
import { Axes } from "./Axes";
import { IsoLine } from "./IsoLine";
import { Measured } from "./Measured";
import { TasteMark } from "./TasteMark";
import { useWidth } from "./useWidth";

const HEIGHT = 300;
const MARGIN = { left: 46, right: 14, top: 26, bottom: 42 };
const REACH = 26; // pixels: how near to a point a click means it

interface Props {
  front: Front;
  x: number;
  y: number;
  onShow: (point: Point | null) => void;
}

/** Measured points, the tastes at their expected rewards, and the line of what is equally good for the taste that the sliders move. */
export function FrontPlot({ front, x, y, onShow }: Props) {
  const holder = useRef<HTMLDivElement>(null);
  const width = useWidth(holder);
  const values = (k: number) => [
    ...front.points.flatMap((p) => [p.rewards[k], p.low[k], p.high[k]]),
    ...(front.reference ? [front.reference[k]] : []),
  ];
  const across = scale(...range(values(x)), MARGIN.left, width - MARGIN.right);
  const up = scale(...range(values(y)), HEIGHT - MARGIN.bottom, MARGIN.top);
  const place = (rewards: readonly number[]): [number, number] => [across.place(rewards[x]), up.place(rewards[y])];
  const nearest = (event: MouseEvent): Point | null => {
    const box = holder.current!.getBoundingClientRect();
    const far = (p: Point) => Math.hypot(place(p.rewards)[0] - (event.clientX - box.left), place(p.rewards)[1] - (event.clientY - box.top));
    const best = front.points.reduce((a, b) => (far(b) < far(a) ? b : a));
    return far(best) <= REACH ? best : null;
  };
  const take = (point: Point | null) => {
    if (point) onShow(point);
    if (point?.weights) setWeights(point.weights);
  };
  const active = marks.value.find((mark) => mark.active);
  return (
    <div ref={holder} class="plot">
      <svg
        id="front-plot"
        width={width}
        height={HEIGHT}
        viewBox={`0 0 ${width} ${HEIGHT}`}
        role="group"
        aria-label={`Measured points: ${front.objectives[x]} across, ${front.objectives[y]} up, higher is better`}
        onClick={(event) => take(nearest(event))}
        onMouseMove={(event) => onShow(nearest(event))}
        onMouseLeave={() => onShow(null)}
      >
        <Axes across={across} up={up} names={[front.objectives[x], front.objectives[y]]} unit={front.unit} margin={MARGIN} width={width} height={HEIGHT} />
        {front.objectives.length === 2 && <path class="attained" d={`M${outline(front.points, x, y).map((p) => place(p.rewards).join(" ")).join("L")}`} />}
        {active?.expected && <IsoLine across={across} up={up} weights={[active.weights[x], active.weights[y]]} through={[active.expected.mean[x], active.expected.mean[y]]} />}
        {front.reference && <path class="reference" d="M-5-5 5 5M-5 5 5-5" transform={`translate(${place(front.reference).join(" ")})`}><title>the policy before training</title></path>}
        <Measured points={front.points} place={place} ends={[x, y]} across={across} up={up} onTake={take} onShow={onShow} />
        {marks.value.map((mark) => mark.expected && <TasteMark key={mark.letter} mark={mark} expected={mark.expected} x={x} y={y} across={across} up={up} />)}
      </svg>
    </div>
  );
}
