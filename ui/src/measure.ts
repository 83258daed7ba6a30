// Distances, angles and profiles: numbers first, then how they are drawn.

import { type Axis, type Vec3, type VolumeInfo, slice } from "./api";
import { type Mark, plane } from "./view";

export const unitName = (info: VolumeInfo): string => (info.length_unit === "um" ? "µm" : "px");

/** A length with its unit, four digits. */
export function lengthText(info: VolumeInfo, length: number): string {
  if (info.length_unit === "um" && length >= 1000) return `${(length / 1000).toPrecision(4)} mm`;
  return `${length.toPrecision(4)} ${unitName(info)}`;
}

export function distance(a: Vec3, b: Vec3): number {
  return Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);
}

/** The angle at b, in degrees. */
export function angle(a: Vec3, b: Vec3, c: Vec3): number {
  const [p, q] = [a.map((n, i) => n - b[i]!), c.map((n, i) => n - b[i]!)];
  const dot = p.reduce((sum, n, i) => sum + n * q[i]!, 0);
  return (Math.acos(Math.min(Math.max(dot / (Math.hypot(...p) * Math.hypot(...q)), -1), 1)) * 180) / Math.PI;
}

/** What a measurement says; null while points are missing. */
export function result(info: VolumeInfo, mark: Mark): string | null {
  const [a, b, c] = mark.points;
  if (!a || !b) return null;
  if (mark.tool === "angle") return c ? `${angle(a, b, c).toFixed(1)}°` : null;
  const fine = info.levels[0];
  const voxels = fine ? Math.hypot(...a.map((n, i) => (n - b[i]!) / fine.scale[i]!)) : 0;
  return `${lengthText(info, distance(a, b))} · ${voxels.toFixed(1)} voxels`;
}

/** Values along a line. */
export interface Profile {
  /** Distance from the first point. */
  at: number[];
  values: number[];
  level: number;
}

/** Voxels of the rectangle around a line that are fetched for it. */
const ROOM = 1 << 20;

/** Values along a line in a slice, a voxel apart, between voxels bilinearly. */
export async function profile(info: VolumeInfo, axis: Axis, a: Vec3, b: Vec3, signal: AbortSignal): Promise<Profile> {
  const { u, v } = plane(axis);
  for (let k = 0; k < info.levels.length; k++) {
    const l = info.levels[k]!;
    const column = (p: Vec3, i: Axis): number => Math.min(Math.max((p[i] - l.translation[i]) / l.scale[i], 0), l.shape[i] - 1);
    const [ua, va, ub, vb] = [column(a, u), column(a, v), column(b, u), column(b, v)];
    const [x0, y0] = [Math.floor(Math.min(ua, ub)), Math.floor(Math.min(va, vb))];
    const w = Math.min(Math.ceil(Math.max(ua, ub)) + 1, l.shape[u]) - x0;
    const h = Math.min(Math.ceil(Math.max(va, vb)) + 1, l.shape[v]) - y0;
    if (w * h > ROOM && k + 1 < info.levels.length) continue;
    const index = Math.min(Math.max(Math.round((a[axis] - l.translation[axis]) / l.scale[axis]), 0), l.shape[axis] - 1);
    const answer = await slice(info, axis, index, k, { x0, y0, w, h }, signal);
    const count = Math.max(Math.ceil(Math.hypot(ub - ua, vb - va) - 1e-6), 1);
    const read = (x: number, y: number): number => answer?.values[Math.min(y, h - 1) * w + Math.min(x, w - 1)] ?? NaN;
    const out: Profile = { at: [], values: [], level: k };
    for (let i = 0; i <= count; i++) {
      const s = i / count;
      const [x, y] = [ua + s * (ub - ua) - x0, va + s * (vb - va) - y0];
      const [cx, cy] = [Math.floor(x), Math.floor(y)];
      const [fx, fy] = [x - cx, y - cy];
      const top = read(cx, cy) * (1 - fx) + (fx > 0 ? read(cx + 1, cy) * fx : 0);
      const bottom = fy > 0 ? read(cx, cy + 1) * (1 - fx) + (fx > 0 ? read(cx + 1, cy + 1) * fx : 0) : 0;
      out.at.push(s * distance(a, b));
      out.values.push(top * (1 - fy) + bottom * fy);
    }
    return out;
  }
  return { at: [], values: [], level: 0 };
}

/** A length of 1, 2 or 5 times a power of ten that is at most `longest`. */
export function roundLength(longest: number): number {
  const power = 10 ** Math.floor(Math.log10(longest));
  const digit = [5, 2, 1].find((d) => d * power <= longest) ?? 1;
  return digit * power;
}

/** A number of an axis or a read-out: as many digits as help. */
export function numberText(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(3);
  return value.toPrecision(5).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
}
