// What is written and drawn over the pictures: names, crossing lines, scale bars, measurements.

import { type Axis, type Vec3, AXES } from "./api";
import { lengthText, result, roundLength } from "./measure";
import type { Pane } from "./panes";
import { turn } from "./march";
import { type Mark, type View, WHOLE, extent, plane } from "./view";

const FONT = "12px system-ui, sans-serif";
const ACCENT = "#5ab0ff";
const AXIS_COLOURS = ["#f2c14e", "#6fd08c", "#f28482"] as const;

/** Text that can be read on black and on white. */
function label(c: CanvasRenderingContext2D, text: string, x: number, y: number, colour = "#fff"): void {
  c.font = FONT;
  c.lineJoin = "round";
  c.lineWidth = 3;
  c.strokeStyle = "rgba(0,0,0,0.75)";
  c.strokeText(text, x, y);
  c.fillStyle = colour;
  c.fillText(text, x, y);
}

function line(c: CanvasRenderingContext2D, points: [number, number][], colour: string, width = 1.5): void {
  for (const [w, stroke] of [[width + 2, "rgba(0,0,0,0.55)"], [width, colour]] as const) {
    c.beginPath();
    points.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y)));
    c.lineWidth = w;
    c.strokeStyle = stroke;
    c.stroke();
  }
}

/** Draws over all panes. `pending` is a measurement that is being made. */
export function drawOverlay(
  c: CanvasRenderingContext2D,
  panes: readonly Pane[],
  view: View,
  pending: Mark | null,
  ratio: number,
): void {
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, c.canvas.width / ratio, c.canvas.height / ratio);
  for (const pane of panes) {
    const { x, y, w, h } = pane.area;
    c.save();
    c.beginPath();
    c.rect(x, y, w, h);
    c.clip();
    if (pane.axis === null) volume(c, pane, view);
    else slice(c, pane, pane.axis, view, pending);
    title(c, pane, view, panes);
    scaleBar(c, pane, pane.axis === null ? view.zoom3 : view.zoom);
    c.restore();
    if (panes.length > 1) {
      c.strokeStyle = "rgba(128,140,160,0.45)";
      c.lineWidth = 1;
      c.strokeRect(x + 0.5, y + 0.5, w - 1, h - 1);
    }
  }
}

function title(c: CanvasRenderingContext2D, pane: Pane, view: View, panes: readonly Pane[]): void {
  const { x, y, w } = pane.area;
  const info = pane.source.info;
  let text: string;
  if (pane.axis === null) {
    const loaded = pane.source.bricks.shown;
    const progress = pane.source.bricks.progress;
    const shape = loaded && info.levels[loaded.level]?.shape;
    text = shape ? `3-D · level ${loaded.level} · ${shape.join(" × ")}` : "3-D";
    if (progress !== null) text += ` · finer: ${Math.round(100 * progress)} %`;
    if (pane.source.bricks.failure) text = pane.source.bricks.failure;
  } else {
    const fine = info.levels[0]!;
    const n = Math.round((view.at[pane.axis] - fine.translation[pane.axis]) / fine.scale[pane.axis]);
    const inSight = n >= 0 && n < fine.shape[pane.axis];
    text = `${AXES[pane.axis]} ${n} of ${fine.shape[pane.axis]} · ${lengthText(info, view.at[pane.axis])}`;
    text += inSight ? ` · level ${pane.drawn.level}` : " · outside of this volume";
    if (inSight && pane.drawn.ready < pane.drawn.tiles) text += " …";
  }
  const several = panes.some((other) => other.source !== pane.source);
  if (several) {
    // Two reconstructions of one scan may have one name; their ids differ.
    let name = panes.every((other) => other.source.info.name === info.name) ? info.id : info.name;
    c.font = FONT;
    while (name.length > 8 && c.measureText(name).width > w - 20) name = `${name.slice(0, -2)}…`;
    label(c, name, x + 10, y + 20, ACCENT);
    label(c, fitting(c, text, w - 20), x + 10, y + 37);
  } else {
    // The button that folds the controls stands in the upper right corner.
    const right = Math.max(...panes.map((other) => other.area.x + other.area.w));
    const room = w - 20 - (y === 0 && x + w === right ? 84 : 0);
    label(c, fitting(c, text, room), x + 10, y + 20, pane.axis === null ? "#fff" : AXIS_COLOURS[pane.axis]);
  }
}

/** As many of a title's parts as there is room for; the first at least. */
function fitting(c: CanvasRenderingContext2D, text: string, room: number): string {
  c.font = FONT;
  const parts = text.split(" · ");
  while (parts.length > 1 && c.measureText(parts.join(" · ")).width > room) parts.pop();
  return parts.join(" · ");
}

function scaleBar(c: CanvasRenderingContext2D, pane: Pane, zoom: number): void {
  const { x, y, w, h } = pane.area;
  const length = roundLength(Math.max(Math.min(w * 0.3, 180), 40) * zoom);
  const pixels = length / zoom;
  const [x0, y0] = [x + 12, y + h - 14];
  line(c, [[x0, y0 - 5], [x0, y0], [x0 + pixels, y0], [x0 + pixels, y0 - 5]], "#fff", 2);
  const info = pane.source.info;
  const text = info.length_unit !== "um" ? `${length} voxels` : length >= 1000 ? `${length / 1000} mm` : `${Number(length.toPrecision(6))} µm`;
  label(c, text, x0, y0 - 9);
}

function slice(c: CanvasRenderingContext2D, pane: Pane, axis: Axis, view: View, pending: Mark | null): void {
  const { u, v } = plane(axis);
  const { x, y, w, h } = pane.area;
  const to = (p: Vec3): [number, number] => pane.toScreen(p, view);
  if (view.layout === "quad") {
    const [cx, cy] = to(view.at);
    c.lineWidth = 1;
    for (const [colour, from, end] of [
      [AXIS_COLOURS[u], [cx, y], [cx, y + h]],
      [AXIS_COLOURS[v], [x, cy], [x + w, cy]],
    ] as const) {
      c.beginPath();
      c.globalAlpha = 0.6;
      c.strokeStyle = colour;
      c.moveTo(Math.round(from[0]) + 0.5, Math.round(from[1]) + 0.5);
      c.lineTo(Math.round(end[0]) + 0.5, Math.round(end[1]) + 0.5);
      c.stroke();
      c.globalAlpha = 1;
    }
  }
  if (view.crop.some((s, i) => s !== WHOLE[i])) {
    const { from, to: end } = extent(pane.source.info);
    const corner = (low: boolean): [number, number] =>
      to(from.map((a, i) => a + view.crop[2 * i + (low ? 0 : 1)]! * (end[i]! - a)) as Vec3);
    const [[x0, y0], [x1, y1]] = [corner(true), corner(false)];
    c.setLineDash([5, 4]);
    c.strokeStyle = ACCENT;
    c.lineWidth = 1;
    c.strokeRect(x0, y0, x1 - x0, y1 - y0);
    c.setLineDash([]);
  }
  const info = pane.source.info;
  const half = 0.5 * (info.levels[0]?.scale[axis] ?? 1) + 1e-9;
  for (const mark of pending ? [...view.marks, pending] : view.marks) {
    const shown = mark.axis === axis && mark.points.every((p) => Math.abs(p[axis] - view.at[axis]) <= half);
    if (!shown) continue;
    const points = mark.points.map(to);
    const colour = mark === pending ? "#ffd166" : ACCENT;
    line(c, points, colour);
    for (const [px, py] of points) {
      c.beginPath();
      c.arc(px, py, 3.5, 0, 2 * Math.PI);
      c.fillStyle = colour;
      c.fill();
      c.lineWidth = 1;
      c.strokeStyle = "#000";
      c.stroke();
    }
    const text = result(info, mark);
    const at = mark.tool === "angle" ? points[1] : points[points.length - 1];
    if (text && at) label(c, text, at[0] + 9, at[1] - 7, colour);
  }
}

/** Edges of what 3-D shows, and which way the axes run. */
function volume(c: CanvasRenderingContext2D, pane: Pane, view: View): void {
  const { x, y, w, h } = pane.area;
  const info = pane.source.info;
  const { from, to } = extent(info);
  const [right, down] = turn(view);
  const at = (i: number, high: boolean): number => from[i]! + view.crop[2 * i + (high ? 1 : 0)]! * (to[i]! - from[i]!);
  const middle = [0, 1, 2].map((i) => (at(i, false) + at(i, true)) / 2);
  const project = (z: number, yy: number, xx: number): [number, number] => {
    const d = [xx - middle[2]!, yy - middle[1]!, z - middle[0]!];
    const along = (axis: Vec3): number => d.reduce((sum, n, i) => sum + n * axis[i]!, 0) / view.zoom3;
    return [x + w / 2 + along(right), y + h / 2 + along(down)];
  };
  c.lineWidth = 1;
  c.strokeStyle = "rgba(160,175,200,0.28)";
  for (let i = 0; i < 3; i++) {
    for (const [a, b] of [[false, false], [false, true], [true, false], [true, true]] as const) {
      const end = (high: boolean): [number, number] => {
        const sides = [a, b];
        const [z, yy, xx] = [0, 1, 2].map((k) => at(k, k === i ? high : sides.shift()!));
        return project(z!, yy!, xx!);
      };
      c.beginPath();
      c.moveTo(...end(false));
      c.lineTo(...end(true));
      c.stroke();
    }
  }
  const origin: [number, number] = [x + w - 44, y + h - 44];
  ([["x", 0], ["y", 1], ["z", 2]] as const).forEach(([name, i]) => {
    const end: [number, number] = [origin[0] + 28 * right[i], origin[1] + 28 * down[i]];
    const colour = AXIS_COLOURS[2 - i]!;
    line(c, [origin, end], colour, 1.5);
    label(c, name, end[0] + 3 * right[i] - 3, end[1] + 8 * down[i] + 4, colour);
  });
}
