import { inkOn } from "../model/colours";

/** A letter in the colour of its weights, inside an SVG. */
export function Badge({ x, y, letter, colour, active }: { x: number; y: number; letter: string; colour: string; active: boolean }) {
  const size = active ? 11 : 8.5;
  return (
    <g class={active ? "badge active" : "badge"} transform={`translate(${x.toFixed(2)} ${y.toFixed(2)})`}>
      <circle class="halo" r={size + 3} />
      <circle class="disc" r={size} fill={colour} />
      <text y="0.36em" fill={inkOn(colour)}>{letter}</text>
    </g>
  );
}
