// Mouse, touch and keys, as hands know them from Fiji and napari.

import type { Axis, Vec3 } from "./api";
import type { Pane } from "./panes";
import { type Layout, type Mark, type Tool, type View, plane } from "./view";

/** What input acts on. */
export interface Stage {
  readonly view: View;
  readonly tool: Tool;
  pane(x: number, y: number): Pane | null;
  /** The pane that keys act on. */
  active(): Pane | null;
  change(change: Partial<View>, moving?: boolean): void;
  step(pane: Pane, by: number): void;
  point(pane: Pane | null, x: number, y: number): void;
  pending: Mark | null;
  finish(mark: Mark): void;
  setTool(tool: Tool): void;
  autoWindow(): void;
  reset(): void;
  screenshot(): void;
  copyLink(): void;
  fold(): void;
  help(): void;
  removeLast(): void;
  playing(on?: boolean): void;
}

interface Finger {
  x: number;
  y: number;
}

/** Scales the picture around a point of the page. */
export function zoomAt(stage: Stage, pane: Pane, x: number, y: number, factor: number): void {
  const { view } = stage;
  if (pane.axis === null) {
    stage.change({ zoom3: view.zoom3 * factor }, true);
    return;
  }
  const { u, v } = plane(pane.axis);
  const held = pane.toPosition(x, y, view);
  const mid: Vec3 = [...view.mid];
  for (const a of [u, v]) mid[a] = held[a] + (view.mid[a] - held[a]) * factor;
  stage.change({ zoom: view.zoom * factor, mid }, true);
}

function pan(stage: Stage, pane: Pane, dx: number, dy: number): void {
  if (pane.axis === null) {
    stage.change(
      {
        yaw: stage.view.yaw - dx * 0.008,
        pitch: Math.min(Math.max(stage.view.pitch + dy * 0.008, -Math.PI / 2), Math.PI / 2),
      },
      true,
    );
    return;
  }
  const { u, v } = plane(pane.axis);
  const mid: Vec3 = [...stage.view.mid];
  mid[u] -= dx * stage.view.zoom;
  mid[v] -= dy * stage.view.zoom;
  stage.change({ mid }, true);
}

/** The window follows the hand: to the right wider, down darker. */
function drag(stage: Stage, dx: number, dy: number): void {
  const { lo, hi } = stage.view;
  const width = (hi - lo) * Math.exp(dx * 0.005);
  const level = (lo + hi) / 2 + (dy * (hi - lo)) / 400;
  stage.change({ lo: level - width / 2, hi: level + width / 2 }, true);
}

export function listen(canvas: HTMLCanvasElement, stage: Stage): void {
  const fingers = new Map<number, Finger>();
  let held: { pane: Pane; button: number } | null = null;
  let turned = 0;
  let tapped = { time: 0, x: 0, y: 0 };

  const where = (e: MouseEvent): Finger => {
    const box = canvas.getBoundingClientRect();
    // The middle of the pixel that is pointed at.
    return { x: Math.floor(e.clientX - box.left) + 0.5, y: Math.floor(e.clientY - box.top) + 0.5 };
  };

  const pick = (x: number, y: number): void => {
    const pane = stage.pane(x, y);
    if (!pane || pane.axis === null) return;
    stage.change({ at: pane.toPosition(x, y, stage.view) });
  };

  const place = (pane: Pane, axis: Axis, x: number, y: number): void => {
    const tool = stage.tool;
    if (tool === "move") return;
    const position = pane.toPosition(x, y, stage.view);
    const pending = stage.pending;
    if (!pending || pending.tool !== tool || pending.axis !== axis) {
      stage.pending = { tool, axis, points: [position, position] };
      return;
    }
    const points = [...pending.points.slice(0, -1), position];
    if (points.length < (tool === "angle" ? 3 : 2)) {
      stage.pending = { tool, axis, points: [...points, position] };
      return;
    }
    stage.pending = null;
    stage.finish({ tool, axis, points });
  };

  canvas.addEventListener("pointerdown", (e) => {
    const { x, y } = where(e);
    const pane = stage.pane(x, y);
    if (!pane) return;
    canvas.focus({ preventScroll: true });
    try {
      canvas.setPointerCapture(e.pointerId);
    } catch {
      // The pointer is gone already; without capture the drag ends at the edge.
    }
    fingers.set(e.pointerId, { x, y });
    stage.point(pane, x, y);
    if (fingers.size === 1) {
      if (e.button === 0 && stage.tool !== "move" && pane.axis !== null) {
        place(pane, pane.axis, x, y);
        stage.change({}, true);
      } else held = { pane, button: e.shiftKey && e.button === 0 ? 1 : e.button };
    }
    if (e.button === 0 && stage.tool === "move") {
      // Of mouse and finger alike; the browser's own double click is of the mouse alone.
      const again = e.timeStamp - tapped.time < 400 && Math.hypot(x - tapped.x, y - tapped.y) < (e.pointerType === "touch" ? 24 : 5);
      if (again && fingers.size === 1) pick(x, y);
      tapped = { time: again ? 0 : e.timeStamp, x, y };
    }
    e.preventDefault();
  });

  canvas.addEventListener("pointermove", (e) => {
    const { x, y } = where(e);
    const before = fingers.get(e.pointerId);
    const over = stage.pane(x, y);
    if (stage.pending) {
      const pane = over && over.axis === stage.pending.axis ? over : null;
      if (pane) {
        stage.pending.points[stage.pending.points.length - 1] = pane.toPosition(x, y, stage.view);
        stage.change({}, true);
      }
    }
    stage.point(over, x, y);
    if (!before) return;
    const [dx, dy] = [x - before.x, y - before.y];
    if (fingers.size === 2 && held) {
      const other = [...fingers].find(([id]) => id !== e.pointerId)?.[1];
      if (other) {
        const was = Math.hypot(before.x - other.x, before.y - other.y);
        const is = Math.hypot(x - other.x, y - other.y);
        if (is > 10 && was > 10) zoomAt(stage, held.pane, (x + other.x) / 2, (y + other.y) / 2, was / is);
        if (held.pane.axis !== null) pan(stage, held.pane, dx / 2, dy / 2);
      }
    } else if (held?.button === 2 || (held?.button === 0 && e.altKey)) drag(stage, dx, dy);
    else if (held) pan(stage, held.pane, dx, dy);
    fingers.set(e.pointerId, { x, y });
  });

  const release = (e: PointerEvent): void => {
    const start = fingers.get(e.pointerId);
    fingers.delete(e.pointerId);
    if (!fingers.size) held = null;
    // A measurement may also be dragged from end to end.
    const pending = stage.pending;
    if (start && pending && pending.tool !== "angle" && e.type === "pointerup") {
      const [a, b] = pending.points;
      if (a && b && Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]) > 8 * stage.view.zoom) {
        stage.pending = null;
        stage.finish(pending);
      }
    }
    stage.change({});
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => stage.point(null, 0, 0));
  canvas.addEventListener("contextmenu", (e) => e.preventDefault());
  canvas.addEventListener(
    "wheel",
    (e) => {
      e.preventDefault();
      const { x, y } = where(e);
      const pane = stage.pane(x, y);
      if (!pane) return;
      const pixels = e.deltaMode === 1 ? e.deltaY * 33 : e.deltaMode === 2 ? e.deltaY * 400 : e.deltaY || e.deltaX;
      if (e.ctrlKey || e.metaKey || pane.axis === null) {
        zoomAt(stage, pane, x, y, Math.exp(Math.min(Math.max(pixels, -200), 200) * 0.002));
        return;
      }
      // A notch of a wheel is a slice; a touchpad's small steps add up.
      turned += pixels;
      const steps = Math.trunc(turned / 60) || (Math.abs(pixels) >= 50 ? Math.sign(pixels) : 0);
      if (!steps) return;
      turned = 0;
      stage.step(pane, steps * (e.shiftKey ? 10 : 1));
    },
    { passive: false },
  );

  window.addEventListener("keydown", (e) => key(e, stage));
}

const LAYOUTS: Record<string, Layout> = { 1: "z", 2: "y", 3: "x", 4: "quad", 5: "3d" };
const TOOLS: Record<string, Tool> = { v: "move", d: "distance", a: "angle", p: "profile" };

function key(e: KeyboardEvent, stage: Stage): void {
  const target = e.target;
  const typing = target instanceof HTMLInputElement && target.type === "text";
  const own = target instanceof HTMLSelectElement || (target instanceof HTMLInputElement && target.type === "range");
  if (typing || e.ctrlKey || e.metaKey || e.altKey) return;
  if (own && /^(Arrow|Page|Home|End| )/.test(e.key)) return;
  const pane = stage.active();
  const { view } = stage;
  const many = e.shiftKey ? 10 : 1;
  const act: Record<string, () => void> = {
    ArrowUp: () => pane && (pane.axis === null ? pan(stage, pane, 0, 16) : stage.step(pane, -many)),
    ArrowDown: () => pane && (pane.axis === null ? pan(stage, pane, 0, -16) : stage.step(pane, many)),
    ArrowLeft: () => pane && pan(stage, pane, pane.axis === null ? -16 : 64, 0),
    ArrowRight: () => pane && pan(stage, pane, pane.axis === null ? 16 : -64, 0),
    PageUp: () => pane && stage.step(pane, -10),
    PageDown: () => pane && stage.step(pane, 10),
    Home: () => pane && stage.step(pane, -1e9),
    End: () => pane && stage.step(pane, 1e9),
    "+": () => pane && zoomAt(stage, pane, pane.area.x + pane.area.w / 2, pane.area.y + pane.area.h / 2, 1 / 1.25),
    "-": () => pane && zoomAt(stage, pane, pane.area.x + pane.area.w / 2, pane.area.y + pane.area.h / 2, 1.25),
    " ": () => stage.playing(),
    w: () => stage.autoWindow(),
    i: () => stage.change({ invert: !view.invert }),
    r: () => stage.reset(),
    s: () => stage.screenshot(),
    l: () => stage.copyLink(),
    h: () => stage.fold(),
    "?": () => stage.help(),
    Delete: () => stage.removeLast(),
    Backspace: () => stage.removeLast(),
    Escape: () => {
      stage.playing(false);
      if (stage.pending) stage.pending = null;
      else stage.setTool("move");
      stage.change({});
    },
  };
  act["="] = act["+"]!;
  for (const [k, layout] of Object.entries(LAYOUTS)) act[k] = () => stage.change({ layout });
  for (const [k, tool] of Object.entries(TOOLS)) act[k] = () => stage.setTool(tool);
  const wanted = act[e.key];
  // A pressed button takes the space bar for itself.
  if (!wanted || (e.key === " " && target instanceof HTMLButtonElement)) return;
  e.preventDefault();
  wanted();
}
