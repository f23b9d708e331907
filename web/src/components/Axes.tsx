import { ticks, type Scale } from "../model/scale";
import { number } from "../model/text";

interface Props {
  across: Scale;
  up: Scale;
  names: [string, string];
  unit: string;
  margin: { left: number; right: number; top: number; bottom: number };
  width: number;
  height: number;
}

/** A light grid with round numbers; names say which way is better. */
export function Axes({ across, up, names, unit, margin, width, height }: Props) {
  const right = width - margin.right;
  const bottom = height - margin.bottom;
  const most = Math.floor((width - 60) / 9);
  const said = (name: string, arrow: string) => {
    const full = `${name}, ${unit}, higher is better ${arrow}`;
    return full.length <= most ? full : `${name.length > most - 2 ? `${name.slice(0, most - 3)}…` : name} ${arrow}`;
  };
  return (
    <g class="axes-drawn">
      {ticks(across.from, across.to, width / 90).map((value) => (
        <g key={`x${value}`}>
          <line x1={across.place(value)} x2={across.place(value)} y1={margin.top} y2={bottom} />
          <text x={across.place(value)} y={bottom + 16} text-anchor="middle">{number(value)}</text>
        </g>
      ))}
      {ticks(up.from, up.to, height / 60).map((value) => (
        <g key={`y${value}`}>
          <line x1={margin.left} x2={right} y1={up.place(value)} y2={up.place(value)} />
          <text x={margin.left - 7} y={up.place(value)} dy="0.34em" text-anchor="end">{number(value)}</text>
        </g>
      ))}
      <text class="name" x={right} y={height - 6} text-anchor="end">{said(names[0], "→")}</text>
      <text class="name" x="2" y="14">{said(names[1], "↑")}</text>
    </g>
  );
}
