// What is looked at and how: one object that the address can hold.

import type { Axis, Vec3, VolumeInfo } from "./api";

export type Kind = "z" | "y" | "x" | "3d";
export type Layout = Kind | "quad";
export type Tool = "move" | "distance" | "angle" | "profile";

/** A measurement: its points lie in one slice. */
export interface Mark {
  tool: "distance" | "angle" | "profile";
  axis: Axis;
  points: Vec3[];
}

export interface View {
  layout: Layout;
  /** The point where the three slices cross. */
  at: Vec3;
  /** The point in the middle of each picture. */
  mid: Vec3;
  /** Length of a CSS pixel. */
  zoom: number;
  /** Values shown black and white. */
  lo: number;
  hi: number;
  invert: boolean;
  /** How the volume is turned: around the vertical, and up or down, in radians. */
  yaw: number;
  pitch: number;
  zoom3: number;
  preset: string;
  /** Values below this share of the window are clear in 3-D. */
  threshold: number;
  density: number;
  light: boolean;
  planes: boolean;
  /** Part of the volume that 3-D shows: from and to along z, y, x, as shares of the whole. */
  crop: [number, number, number, number, number, number];
  marks: Mark[];
  /** The volume beside it. */
  with: string | null;
}

export const WHOLE: View["crop"] = [0, 1, 0, 1, 0, 1];

/** Columns and lines of the picture perpendicular to an axis. */
export function plane(axis: Axis): { u: Axis; v: Axis } {
  return { u: axis === 2 ? 1 : 2, v: axis === 0 ? 1 : 0 };
}

export function axisOf(kind: Kind): Axis | null {
  return kind === "z" ? 0 : kind === "y" ? 1 : kind === "x" ? 2 : null;
}

/** Where the volume begins and ends, outer faces of its voxels. */
export function extent(info: VolumeInfo): { from: Vec3; to: Vec3 } {
  const level = info.levels[0];
  if (!level) return { from: [0, 0, 0], to: [1, 1, 1] };
  const at = (i: Axis, n: number): number => level.translation[i] + (n - 0.5) * level.scale[i];
  const [nz, ny, nx] = level.shape;
  return { from: [at(0, 0), at(1, 0), at(2, 0)], to: [at(0, nz), at(1, ny), at(2, nx)] };
}

/** The voxel of level 0 at a position; it may lie outside. */
export function voxelAt(info: VolumeInfo, position: Vec3): Vec3 {
  const level = info.levels[0];
  if (!level) return [0, 0, 0];
  return position.map((p, i) => Math.round((p - level.translation[i]!) / level.scale[i]!)) as Vec3;
}

export function inside(info: VolumeInfo, voxel: Vec3): boolean {
  const shape = info.levels[0]?.shape;
  return !!shape && voxel.every((n, i) => n >= 0 && n < shape[i]!);
}

/** The view on opening: the middle of what is there, everything in sight. */
export function initial(info: VolumeInfo, width: number, height: number): View {
  const { from, to } = extent(info);
  const centre = from.map((a, i) => (a + to[i]!) / 2) as Vec3;
  const at = [...centre] as Vec3;
  const level = info.levels[0];
  if (level) {
    const ranges = info.rows.ranges;
    const rows = info.state === "growing" ? ranges[ranges.length - 1] : undefined;
    const z = rows ? Math.floor((rows[0] + rows[1]) / 2) : Math.floor(level.shape[0] / 2);
    at[0] = level.translation[0] + z * level.scale[0];
    at[1] = level.translation[1] + Math.floor(level.shape[1] / 2) * level.scale[1];
    at[2] = level.translation[2] + Math.floor(level.shape[2] / 2) * level.scale[2];
  }
  const { start, end } = info.window;
  return {
    layout: "z",
    at,
    mid: centre,
    zoom: fit(info, 0, width, height),
    lo: start,
    hi: end,
    invert: false,
    yaw: 0.6,
    pitch: 0.5,
    zoom3: fit3(info, width, height),
    preset: "solid",
    threshold: between(info),
    density: 0.85,
    light: true,
    planes: false,
    crop: [...WHOLE],
    marks: [],
    with: null,
  };
}

/**
 * The share of the window that tells sample from air best: the threshold of the histogram that leaves the
 * least variance within both classes (Otsu 1979).
 */
function between({ histogram, window }: VolumeInfo): number {
  const width = (histogram.end - histogram.start) / Math.max(histogram.counts.length, 1);
  const inWindow = histogram.counts
    .map((n, i) => [(histogram.start + (i + 0.5) * width - window.start) / (window.end - window.start), n] as const)
    .filter(([t]) => t >= 0 && t <= 1);
  const total = inWindow.reduce((sum, [, n]) => sum + n, 0);
  const mean = inWindow.reduce((sum, [t, n]) => sum + t * n, 0) / Math.max(total, 1);
  let [best, share, below, sum] = [0, 0.35, 0, 0];
  for (const [t, n] of inWindow) {
    [below, sum] = [below + n, sum + t * n];
    const above = total - below;
    if (below <= 0 || above <= 0) continue;
    const spread = (below * above * (sum / below - (mean * total - sum) / above) ** 2) / total ** 2;
    if (spread > best) [best, share] = [spread, t];
  }
  return Math.min(Math.max(share, 0.05), 0.95);
}

/** The zoom at which a slice fills a picture. */
export function fit(info: VolumeInfo, axis: Axis, width: number, height: number): number {
  const { from, to } = extent(info);
  const { u, v } = plane(axis);
  return Math.max((to[u] - from[u]) / Math.max(width - 24, 16), (to[v] - from[v]) / Math.max(height - 24, 16));
}

/** The zoom at which the volume fits however it is turned. */
export function fit3(info: VolumeInfo, width: number, height: number): number {
  const { from, to } = extent(info);
  const diagonal = Math.hypot(to[0] - from[0], to[1] - from[1], to[2] - from[2]);
  return diagonal / Math.max(Math.min(width, height) * 1.08, 16);
}

const short = (n: number): string => String(Number(n.toPrecision(8)));
const numbers = (list: readonly number[]): string => list.map(short).join(",");

/** The view as the part of the address after #. */
export function toFragment(view: View): string {
  const marks = view.marks.map((m) => [m.tool[0], m.axis, ...m.points.flat().map(short)].join(","));
  const fields: [string, string][] = [
    ["show", view.layout],
    ["at", numbers(view.at)],
    ["mid", numbers(view.mid)],
    ["zoom", short(view.zoom)],
    ["window", numbers([view.lo, view.hi])],
    ["turn", numbers([view.yaw, view.pitch, view.zoom3])],
    ["look", [view.preset, short(view.threshold), short(view.density)].join(",")],
  ];
  if (view.invert) fields.push(["invert", "1"]);
  if (!view.light) fields.push(["light", "0"]);
  if (view.planes) fields.push(["planes", "1"]);
  if (view.crop.some((c, i) => c !== WHOLE[i])) fields.push(["crop", numbers(view.crop)]);
  if (marks.length) fields.push(["marks", marks.join(";")]);
  if (view.with !== null) fields.push(["with", encodeURIComponent(view.with)]);
  return fields.map(([key, value]) => `${key}=${value}`).join("&");
}

/** Reads a fragment over a view; what it does not hold, or cannot mean anything, stays. */
export function fromFragment(fragment: string, view: View): View {
  const read = { ...view };
  const list = (text: string, n: number): number[] | null => {
    const found = text.split(",").map(Number);
    return found.length === n && found.every(Number.isFinite) ? found : null;
  };
  for (const field of fragment.replace(/^#/, "").split("&")) {
    const cut = field.indexOf("=");
    const [key, text] = [field.slice(0, cut), field.slice(cut + 1)];
    if (key === "show" && ["z", "y", "x", "3d", "quad"].includes(text)) read.layout = text as Layout;
    if (key === "at" || key === "mid") read[key] = (list(text, 3) as Vec3 | null) ?? read[key];
    if (key === "zoom") read.zoom = positive(Number(text), read.zoom);
    if (key === "window") {
      const [lo, hi] = list(text, 2) ?? [read.lo, read.hi];
      if (lo! < hi!) [read.lo, read.hi] = [lo!, hi!];
    }
    if (key === "turn") {
      const [yaw, pitch, zoom3] = list(text, 3) ?? [read.yaw, read.pitch, read.zoom3];
      [read.yaw, read.pitch, read.zoom3] = [yaw!, pitch!, positive(zoom3!, read.zoom3)];
    }
    if (key === "look") {
      const [preset, threshold, density] = text.split(",");
      if (preset && /^[a-z]+$/.test(preset)) read.preset = preset;
      read.threshold = share(Number(threshold), read.threshold);
      read.density = share(Number(density), read.density);
    }
    if (key === "invert") read.invert = text === "1";
    if (key === "light") read.light = text !== "0";
    if (key === "planes") read.planes = text === "1";
    if (key === "crop") {
      const crop = list(text, 6);
      if (crop?.every((c, i) => c >= 0 && c <= 1 && (i % 2 === 0 || c > crop[i - 1]!))) read.crop = crop as View["crop"];
    }
    if (key === "marks") read.marks = text.split(";").flatMap(mark);
    if (key === "with") read.with = safeDecode(text);
  }
  return read;
}

function mark(text: string): Mark[] {
  const [letter, axis, ...rest] = text.split(",");
  const tool = ({ d: "distance", a: "angle", p: "profile" } as const)[letter ?? ""];
  const values = rest.map(Number);
  const count = tool === "angle" ? 9 : 6;
  if (!tool || !["0", "1", "2"].includes(axis ?? "") || values.length !== count || !values.every(Number.isFinite)) return [];
  const points: Vec3[] = [];
  for (let i = 0; i < count; i += 3) points.push([values[i]!, values[i + 1]!, values[i + 2]!]);
  return [{ tool, axis: Number(axis) as Axis, points }];
}

function safeDecode(text: string): string | null {
  try {
    return decodeURIComponent(text) || null;
  } catch {
    return null;
  }
}

const positive = (n: number, otherwise: number): number => (Number.isFinite(n) && n > 0 ? n : otherwise);
const share = (n: number, otherwise: number): number => (Number.isFinite(n) && n >= 0 && n <= 1 ? n : otherwise);
