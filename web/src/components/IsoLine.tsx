import type { Scale } from "../model/scale";

/** Where the weighted sum is what it is at one place: everything beyond the line is better for these weights. */
export function IsoLine({ across, up, weights, through }: { across: Scale; up: Scale; weights: [number, number]; through: [number, number] }) {
  const size = Math.hypot(...weights);
  if (size < 1e-6) return null; // neither of the two objectives counts
  const [w, v] = [weights[0] / size, weights[1] / size];
  // Long enough to leave the plot on both sides; the plot's clip cuts it.
  const reach = Math.hypot(across.to - across.from, up.to - up.from) * 2;
  const end = (sign: number) => [across.place(through[0] - sign * v * reach), up.place(through[1] + sign * w * reach)];
  const [[x1, y1], [x2, y2]] = [end(1), end(-1)];
  return (
    <>
      <clipPath id="plot-area">
        <rect x={across.place(across.from)} y={up.place(up.to)} width={across.place(across.to) - across.place(across.from)} height={up.place(up.from) - up.place(up.to)} />
      </clipPath>
      <line id="iso-line" class="iso" clip-path="url(#plot-area)" x1={x1} y1={y1} x2={x2} y2={y2} />
    </>
  );
}
