// The histogram with the window's two handles.

import type { VolumeInfo } from "./api";
import { numberText } from "./measure";
import { preset } from "./transfer";
import type { View } from "./view";

/** A histogram that is drawn into a canvas, with the window over it. */
export class HistogramView {
  readonly element = document.createElement("div");
  private readonly canvas = document.createElement("canvas");
  private readonly ends = document.createElement("div");
  private dragged: "lo" | "hi" | "both" | null = null;
  private grabbed = { x: 0, lo: 0, hi: 0 };
  private info: VolumeInfo | null = null;
  private view: View | null = null;

  constructor(private readonly changed: (lo: number, hi: number) => void) {
    this.element.className = "histogram";
    this.ends.className = "ends";
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", "Histogram; drag its handles to set black and white");
    this.element.append(this.canvas, this.ends);
    this.canvas.addEventListener("pointerdown", (e) => this.grab(e));
    this.canvas.addEventListener("pointermove", (e) => this.drag(e));
    this.canvas.addEventListener("pointerup", () => (this.dragged = null));
    this.canvas.addEventListener("pointercancel", () => (this.dragged = null));
  }

  private get range(): { start: number; end: number } {
    const { start, end } = this.info?.histogram ?? { start: 0, end: 1 };
    const view = this.view ?? { lo: start, hi: end };
    // A window beyond the counts widens the picture, or its handles would be out of reach.
    return { start: Math.min(start, view.lo), end: Math.max(end, view.hi) };
  }

  private toX(value: number): number {
    const { start, end } = this.range;
    return ((value - start) / (end - start)) * this.canvas.clientWidth;
  }

  private grab(e: PointerEvent): void {
    if (!this.view) return;
    this.canvas.setPointerCapture(e.pointerId);
    const [lo, hi] = [this.toX(this.view.lo), this.toX(this.view.hi)];
    const nearest = Math.abs(e.offsetX - lo) < Math.abs(e.offsetX - hi) ? "lo" : "hi";
    const near = Math.min(Math.abs(e.offsetX - lo), Math.abs(e.offsetX - hi)) < 14;
    this.dragged = near ? nearest : e.offsetX > lo && e.offsetX < hi ? "both" : nearest;
    this.grabbed = { x: e.offsetX, lo: this.view.lo, hi: this.view.hi };
    e.preventDefault();
  }

  private drag(e: PointerEvent): void {
    if (!this.dragged || !this.view) return;
    const { start, end } = this.range;
    const by = ((e.offsetX - this.grabbed.x) / Math.max(this.canvas.clientWidth, 1)) * (end - start);
    let { lo, hi } = this.grabbed;
    const least = (end - start) / 1000;
    if (this.dragged !== "hi") lo += by;
    if (this.dragged !== "lo") hi += by;
    if (hi - lo < least) this.dragged === "lo" ? (lo = hi - least) : (hi = lo + least);
    this.changed(lo, hi);
  }

  draw(info: VolumeInfo, view: View, with3d: boolean): void {
    [this.info, this.view] = [info, view];
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (!w || !h) return;
    this.canvas.width = Math.round(w * ratio);
    this.canvas.height = Math.round(h * ratio);
    const c = this.canvas.getContext("2d");
    if (!c) return;
    const style = getComputedStyle(this.element);
    c.scale(ratio, ratio);
    const { counts, start, end } = info.histogram;
    // Logarithmic: a sample often is a thousandth of its field of view.
    const most = Math.log1p(Math.max(...counts, 1));
    const [x0, x1] = [this.toX(start), this.toX(end)];
    c.beginPath();
    c.moveTo(x0, h);
    counts.forEach((n, i) => {
      const top = h - (Math.log1p(n) / most) * (h - 6);
      c.lineTo(x0 + (i / counts.length) * (x1 - x0), top);
      c.lineTo(x0 + ((i + 1) / counts.length) * (x1 - x0), top);
    });
    c.lineTo(x1, h);
    c.fillStyle = style.getPropertyValue("--bars");
    c.fill();
    const [lo, hi] = [this.toX(view.lo), this.toX(view.hi)];
    c.fillStyle = style.getPropertyValue("--outside");
    c.fillRect(0, 0, lo, h);
    c.fillRect(hi, 0, w - hi, h);
    c.strokeStyle = style.getPropertyValue("--accent");
    c.lineWidth = 1.5;
    c.beginPath();
    if (with3d) {
      // How much each value covers in 3-D.
      const look = preset(view.preset);
      for (let i = 0; i <= 60; i++) {
        const y = h - 2 - look.cover(i / 60, view.threshold) * (h - 6);
        i ? c.lineTo(lo + (i / 60) * (hi - lo), y) : c.moveTo(lo, y);
      }
    } else {
      c.moveTo(lo, view.invert ? 2 : h - 2);
      c.lineTo(hi, view.invert ? h - 2 : 2);
    }
    c.stroke();
    c.fillStyle = style.getPropertyValue("--accent");
    for (const x of [lo, hi]) {
      c.fillRect(x - 1, 0, 2, h);
      c.fillRect(x - 4, h / 2 - 9, 8, 18);
    }
    this.ends.textContent = `${numberText(view.lo)} to ${numberText(view.hi)} ${info.unit ?? ""}`;
  }
}
