// The picture of a profile: values over distance, with axes that can be read off.

import type { VolumeInfo } from "./api";
import { type Profile, numberText, roundLength, unitName } from "./measure";

/** Draws a profile into a canvas. */
export function drawProfile(canvas: HTMLCanvasElement, profile: Profile, info: VolumeInfo): void {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.round(w * ratio);
  canvas.height = Math.round(h * ratio);
  const c = canvas.getContext("2d");
  const finite = profile.values.filter(Number.isFinite);
  if (!c || !finite.length || !w) return;
  c.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const [left, right, top, bottom] = [46, 10, 8, 30];
  let [low, high] = [Math.min(...finite), Math.max(...finite)];
  const pad = (high - low) * 0.05 || Math.abs(high) * 0.05 || 1;
  [low, high] = [low - pad, high + pad];
  const length = profile.at[profile.at.length - 1] || 1;
  const x = (s: number): number => left + (s / length) * (w - left - right);
  const y = (v: number): number => h - bottom - ((v - low) / (high - low)) * (h - top - bottom);
  c.font = "11px system-ui, sans-serif";
  c.fillStyle = style.getPropertyValue("--quiet");
  c.strokeStyle = style.getPropertyValue("--line");
  c.lineWidth = 1;
  const step = roundLength((high - low) / 2.5);
  c.textAlign = "right";
  for (let v = Math.ceil(low / step) * step; v <= high; v += step) {
    c.beginPath();
    c.moveTo(left, Math.round(y(v)) + 0.5);
    c.lineTo(w - right, Math.round(y(v)) + 0.5);
    c.stroke();
    c.fillText(numberText(Math.abs(v) < step / 1e6 ? 0 : v), left - 5, y(v) + 4);
  }
  c.textAlign = "center";
  const along = roundLength(length / 3);
  for (let s = 0; s <= length; s += along) c.fillText(numberText(s), x(s), h - bottom + 14);
  c.fillText(`${unitName(info)}${info.unit ? `, values in ${info.unit}` : ""}`, left + (w - left - right) / 2, h - 3);
  c.strokeStyle = style.getPropertyValue("--accent");
  c.lineWidth = 1.5;
  c.beginPath();
  let pen = false;
  profile.values.forEach((v, i) => {
    if (Number.isFinite(v)) pen ? c.lineTo(x(profile.at[i]!), y(v)) : c.moveTo(x(profile.at[i]!), y(v));
    pen = Number.isFinite(v);
  });
  c.stroke();
}

/** A profile as a table for other programs. */
export function profileText(profile: Profile, info: VolumeInfo): string {
  const unit = info.length_unit === "um" ? "um" : "voxels";
  const lines = profile.at.map((s, i) => `${s},${profile.values[i]}`);
  return `distance (${unit}),value (${info.unit ?? ""})\n${lines.join("\n")}\n`;
}
