// The line below the pictures: the slice's slider, and what lies under the pointer.

import { type VolumeInfo, value } from "./api";
import { lengthText, numberText } from "./measure";
import type { Pane } from "./panes";
import { type View, inside, plane, voxelAt } from "./view";

/** A value is asked for when the pointer has rested this long. */
const REST = 60;

export class Status {
  readonly element = document.createElement("footer");
  private readonly name = document.createElement("span");
  private readonly slider = document.createElement("input");
  private readonly readout = document.createElement("output");
  private asked: AbortController | null = null;

  /** `go` is called with the slice of level 0 that the slider is moved to. */
  constructor(go: (index: number) => void) {
    Object.assign(this.slider, { type: "range", min: "0", step: "1" });
    this.slider.setAttribute("aria-label", "Slice");
    this.slider.addEventListener("input", () => go(Number(this.slider.value)));
    this.readout.className = this.readout.id = "readout";
    const label = document.createElement("label");
    label.append(this.name, this.slider);
    this.element.append(label, this.readout);
  }

  /** Puts the slider where the slices of a pane are. */
  slide(pane: Pane | null, view: View): void {
    this.slider.disabled = !pane;
    if (!pane || pane.axis === null) return;
    const fine = pane.source.info.levels[0]!;
    this.name.textContent = "zyx"[pane.axis]!;
    this.slider.max = String(fine.shape[pane.axis] - 1);
    this.slider.value = String(Math.round((view.at[pane.axis] - fine.translation[pane.axis]) / fine.scale[pane.axis]));
  }

  /** Tells voxel, position and value under the pointer. The value is that of the finest level. */
  point(over: { pane: Pane; x: number; y: number } | null, main: VolumeInfo, view: View): void {
    this.asked?.abort();
    const in3d = over ? over.pane.axis === null : view.layout === "3d";
    const perPixel = `${lengthText(main, in3d ? view.zoom3 : view.zoom)} per pixel`;
    if (!over || over.pane.axis === null) {
      this.readout.textContent = perPixel;
      return;
    }
    const { axis, drawn, source } = over.pane;
    const { info } = source;
    const voxel = voxelAt(info, over.pane.toPosition(over.x, over.y, view));
    if (!inside(info, voxel)) {
      this.readout.textContent = `outside · ${perPixel}`;
      return;
    }
    const tell = (found: number | null): void => {
      const fine = info.levels[0]!;
      const says = found === null ? "not there yet" : Number.isNaN(found) ? "no number" : `${numberText(found)} ${info.unit ?? ""}`;
      const where = voxel.map((n, i) => (fine.translation[i]! + n * fine.scale[i]!).toFixed(2)).join(", ");
      const lengths = info.length_unit === "um" ? ` · ${where} µm` : "";
      this.readout.textContent = `${says} · z ${voxel[0]}, y ${voxel[1]}, x ${voxel[2]}${lengths} · ${perPixel}`;
      Object.assign(this.readout.dataset, { value: String(found), voxel: voxel.join() });
    };
    const { u, v } = plane(axis);
    const shown = drawn.level === 0 && drawn.index === voxel[axis] ? source.tiles.valueAt(axis, 0, voxel[axis], voxel[u], voxel[v]) : null;
    if (shown !== null && !Number.isNaN(shown)) {
      tell(shown);
      return;
    }
    const asked = new AbortController();
    this.asked = asked;
    window.setTimeout(() => {
      // Nobody is told of a failure here: the banner tells when the server is away.
      if (!asked.signal.aborted) value(info, voxel, asked.signal).then(tell, () => undefined);
    }, REST);
  }
}
