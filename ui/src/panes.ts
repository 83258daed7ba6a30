// The page cut into pictures: one for each volume and slice or 3-D.

import type { Axis, Vec3, VolumeInfo } from "./api";
import { BrickStore } from "./bricks";
import type { Device } from "./gl";
import type { Area, Drawn } from "./slices";
import { TileStore } from "./tiles";
import { type Kind, type View, axisOf, plane } from "./view";

/** A volume that is being looked at. */
export class Source {
  readonly tiles: TileStore;
  private made: BrickStore | null = null;

  constructor(private readonly device: Device, public info: VolumeInfo, private readonly changed: () => void) {
    this.tiles = new TileStore(info, changed);
  }

  /** For 3-D; made when first asked for, as it needs the graphics. */
  get bricks(): BrickStore {
    this.made ??= new BrickStore(this.device.gl, this.info, this.device.budget, this.changed);
    return this.made;
  }

  update(info: VolumeInfo): void {
    this.info = info;
    this.tiles.update(info);
    if (this.made) this.made.info = info;
  }

  dispose(): void {
    this.tiles.dispose();
    this.made?.dispose();
  }
}

export class Pane {
  drawn: Drawn = { level: 0, index: null, tiles: 0, ready: 0 };
  readonly axis: Axis | null;

  constructor(readonly source: Source, readonly kind: Kind, readonly area: Area) {
    this.axis = axisOf(kind);
  }

  has(x: number, y: number): boolean {
    const { area } = this;
    return x >= area.x && x < area.x + area.w && y >= area.y && y < area.y + area.h;
  }

  /** The position under a point of the page. */
  toPosition(x: number, y: number, view: View): Vec3 {
    const at: Vec3 = [...view.at];
    if (this.axis === null) return at;
    const { u, v } = plane(this.axis);
    at[u] = view.mid[u] + (x - this.area.x - this.area.w / 2) * view.zoom;
    at[v] = view.mid[v] + (y - this.area.y - this.area.h / 2) * view.zoom;
    return at;
  }

  /** The point of the page over a position. */
  toScreen(position: Vec3, view: View): [number, number] {
    const { u, v } = plane(this.axis ?? 0);
    return [
      this.area.x + this.area.w / 2 + (position[u] - view.mid[u]) / view.zoom,
      this.area.y + this.area.h / 2 + (position[v] - view.mid[v]) / view.zoom,
    ];
  }
}

/** Cuts the page: volumes beside each other (above, where it is high), each with what the layout shows. */
export function arrange(sources: readonly Source[], layout: View["layout"], width: number, height: number): Pane[] {
  const kinds: Kind[] = layout === "quad" ? ["z", "x", "y", "3d"] : [layout];
  const beside = width >= height;
  const n = Math.max(sources.length, 1);
  return sources.flatMap((source, i) => {
    const [w, h] = [beside ? width / n : width, beside ? height : height / n];
    const [x, y] = [beside ? i * w : 0, beside ? 0 : i * h];
    const cut = (k: number): Area =>
      kinds.length === 1
        ? { x, y, w, h }
        : { x: x + (k % 2) * (w / 2), y: y + Math.floor(k / 2) * (h / 2), w: w / 2, h: h / 2 };
    return kinds.map((kind, k) => new Pane(source, kind, snap(cut(k))));
  });
}

/** Whole pixels, so that neighbours share an edge. */
function snap({ x, y, w, h }: Area): Area {
  const [x0, y0] = [Math.round(x), Math.round(y)];
  return { x: x0, y: y0, w: Math.round(x + w) - x0, h: Math.round(y + h) - y0 };
}
