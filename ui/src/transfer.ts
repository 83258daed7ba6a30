// Transfer functions: which value has which colour and how much it covers, in 256 steps.

export interface Preset {
  id: string;
  name: string;
  /** Brightest voxel along the ray instead of light through a cloud. */
  brightest?: boolean;
  /** Cover of a voxel at a share of the window, before `density`. */
  cover: (t: number, threshold: number) => number;
  colour: (t: number) => [number, number, number];
}

const step = (t: number, from: number, to: number): number => {
  const s = Math.min(Math.max((t - from) / Math.max(to - from, 1e-6), 0), 1);
  return s * s * (3 - 2 * s);
};

/** Linear between colours at equal distances. */
const ramp = (...stops: [number, number, number][]) => (t: number): [number, number, number] => {
  const at = Math.min(Math.max(t, 0), 1) * (stops.length - 1);
  const [a, b] = [stops[Math.floor(at)]!, stops[Math.ceil(at)]!];
  return a.map((c, i) => c + (b[i]! - c) * (at - Math.floor(at))) as [number, number, number];
};

const BONE = ramp([0.36, 0.31, 0.28], [0.75, 0.68, 0.6], [0.96, 0.93, 0.87]);
const GREY = ramp([0, 0, 0], [1, 1, 1]);
const FIRE = ramp([0.1, 0.02, 0.2], [0.55, 0.1, 0.35], [0.93, 0.4, 0.2], [1, 0.86, 0.45], [1, 1, 0.9]);
const STEEL = ramp([0.16, 0.25, 0.36], [0.45, 0.6, 0.72], [0.92, 0.96, 1]);

export const PRESETS: readonly Preset[] = [
  { id: "solid", name: "Solid", cover: (t, c) => step(t, c - 0.05, c + 0.07), colour: BONE },
  { id: "surface", name: "Surface", cover: (t, c) => step(t, c - 0.03, c + 0.03), colour: STEEL },
  { id: "cloud", name: "Cloud", cover: (t, c) => 0.25 * Math.max(t - c, 0) ** 1.5, colour: FIRE },
  { id: "voids", name: "Voids", cover: (t, c) => step(c - t, 0, 0.12) * step(t, 0.002, 0.02), colour: STEEL },
  { id: "brightest", name: "Brightest", brightest: true, cover: (t, c) => step(t, c, c + 0.02), colour: GREY },
];

export const preset = (id: string): Preset => PRESETS.find((p) => p.id === id) ?? PRESETS[0]!;

/** 256 colours with cover for bytes that stand for `from` to `to`, in a window `lo` to `hi`. */
export function table(
  of: Preset,
  bytes: { lo: number; hi: number },
  view: { lo: number; hi: number; invert: boolean; threshold: number; density: number },
): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(1024);
  // Twice as dense for each tenth: what is seen goes with the logarithm.
  const density = Math.min(2 ** ((view.density - 1) * 10) * 4, 1);
  for (let i = 0; i < 256; i++) {
    const value = bytes.lo + (i / 255) * (bytes.hi - bytes.lo);
    const t = (value - view.lo) / (view.hi - view.lo);
    const colour = of.colour(view.invert ? 1 - t : t);
    const cover = of.cover(Math.min(Math.max(t, 0), 1), view.threshold) * (of.brightest ? 1 : density);
    colour.forEach((c, k) => (out[4 * i + k] = Math.round(255 * Math.min(Math.max(c, 0), 1))));
    // Even the thinnest cloud keeps a step, or it would vanish all at once.
    out[4 * i + 3] = cover > 0 ? Math.max(1, Math.round(255 * Math.min(cover, 1))) : 0;
  }
  return out;
}
