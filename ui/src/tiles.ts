// Slices in tiles: which are needed, fetched once, kept as long as there is room.

import { type Axis, type VolumeInfo, ServerError, slice } from "./api";
import { plane } from "./view";

/** Voxels along an edge of a tile. */
export const TILE = 512;
/** Bytes of tiles that are kept. */
const ROOM = 320 << 20;
/** A failed tile is asked for again after this long. */
const AGAIN = 2000;

export interface Tile {
  axis: Axis;
  level: number;
  index: number;
  x0: number;
  y0: number;
  w: number;
  h: number;
  /** null while it is fetched, and where nothing is there yet. */
  values: Float32Array<ArrayBuffer> | null;
  texture: WebGLTexture | null;
  state: "loading" | "ready" | "absent" | "failed";
  partial: boolean;
  used: number;
  abort: AbortController;
  since: number;
}

/** The tiles of one volume. */
export class TileStore {
  private readonly tiles = new Map<string, Tile>();
  private clock = 0;
  private bytes = 0;
  /** Known once something was drawn. */
  private gl: WebGL2RenderingContext | null = null;
  /** Milliseconds from asking for a tile to having it, the last ones. */
  readonly times: number[] = [];
  fetched = 0;

  constructor(
    public info: VolumeInfo,
    private readonly changed: () => void,
  ) {}

  /** The finest level whose voxels are not much smaller than a pixel of the screen. */
  levelFor(axis: Axis, pixel: number): number {
    const { u } = plane(axis);
    let level = 0;
    this.info.levels.forEach((l, k) => {
      if (l.scale[u] <= 1.35 * pixel) level = k;
    });
    return level;
  }

  /** Index of the slice at a position; null outside of the volume. */
  indexAt(axis: Axis, level: number, position: number): number | null {
    const l = this.info.levels[level];
    const fine = this.info.levels[0];
    if (!l || !fine) return null;
    const n = Math.round((position - fine.translation[axis]) / fine.scale[axis]);
    if (n < 0 || n >= fine.shape[axis]) return null;
    return Math.min(Math.max(Math.round((position - l.translation[axis]) / l.scale[axis]), 0), l.shape[axis] - 1);
  }

  /** Tiles of a slice that touch a rectangle of positions, those in its middle first. */
  cover(axis: Axis, level: number, index: number, rect: { u0: number; v0: number; u1: number; v1: number }): Tile[] {
    const l = this.info.levels[level];
    if (!l) return [];
    const { u, v } = plane(axis);
    const range = (a: Axis, from: number, to: number): [number, number] => [
      Math.max(Math.floor(((from - l.translation[a]) / l.scale[a] + 0.5) / TILE), 0),
      Math.min(Math.ceil(((to - l.translation[a]) / l.scale[a] + 0.5) / TILE), Math.ceil(l.shape[a] / TILE)),
    ];
    const [a, b] = [range(u, rect.u0, rect.u1), range(v, rect.v0, rect.v1)];
    const found: Tile[] = [];
    for (let ty = b[0]; ty < b[1]; ty++) {
      for (let tx = a[0]; tx < a[1]; tx++) {
        found.push(this.tile(axis, level, index, tx * TILE, ty * TILE, l.shape[u], l.shape[v]));
      }
    }
    const middle = (t: Tile): number =>
      Math.hypot(t.x0 + t.w / 2 - ((a[0] + a[1]) / 2) * TILE, t.y0 + t.h / 2 - ((b[0] + b[1]) / 2) * TILE);
    return found.sort((s, t) => middle(s) - middle(t));
  }

  private tile(axis: Axis, level: number, index: number, x0: number, y0: number, nx: number, ny: number): Tile {
    const key = `${axis}/${level}/${index}/${x0}/${y0}`;
    let tile = this.tiles.get(key);
    if (!tile) {
      const [w, h] = [Math.min(TILE, nx - x0), Math.min(TILE, ny - y0)];
      tile = {
        axis, level, index, x0, y0, w, h,
        values: null, texture: null, state: "absent", partial: false,
        used: 0, abort: new AbortController(), since: -Infinity,
      };
      this.tiles.set(key, tile);
    }
    tile.used = ++this.clock;
    return tile;
  }

  /** Fetches tiles that are not there; the last ones asked for come first. */
  want(tiles: readonly Tile[]): void {
    for (const tile of [...tiles].reverse()) {
      const due = performance.now() - tile.since > AGAIN;
      if (tile.state === "ready" || tile.state === "loading" || !due) continue;
      void this.fetch(tile);
    }
  }

  /** Gives up what is being fetched and not among these. */
  only(wanted: ReadonlySet<Tile>): void {
    for (const tile of this.tiles.values()) {
      if (tile.state === "loading" && !wanted.has(tile)) {
        tile.abort.abort();
        tile.state = "absent";
        tile.since = -Infinity;
      }
    }
  }

  private async fetch(tile: Tile): Promise<void> {
    const abort = new AbortController();
    Object.assign(tile, { state: "loading", abort, since: performance.now() });
    try {
      const answer = await slice(this.info, tile.axis, tile.index, tile.level, tile, abort.signal);
      this.fetched += 1;
      this.times.push(performance.now() - tile.since);
      if (this.times.length > 500) this.times.shift();
      tile.state = answer ? "ready" : "absent";
      tile.partial = !!answer && answer.absent > 0;
      if (answer) {
        this.bytes += answer.values.byteLength;
        tile.values = answer.values;
        this.evict();
      }
    } catch (reason) {
      if (abort.signal.aborted) return;
      tile.state = "failed";
      // Too many at once: again soon. Anything else the banner tells.
      if (!(reason instanceof ServerError)) console.warn("a tile could not be read", reason);
      setTimeout(this.changed, AGAIN + 50);
    }
    this.changed();
  }

  /** The texture of a tile, made when first drawn. */
  texture(gl: WebGL2RenderingContext, tile: Tile): WebGLTexture | null {
    this.gl = gl;
    if (!tile.texture && tile.values) {
      tile.texture = gl.createTexture();
      gl.bindTexture(gl.TEXTURE_2D, tile.texture);
      gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.R32F, tile.w, tile.h, 0, gl.RED, gl.FLOAT, tile.values);
      for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) {
        gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
      }
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
    }
    return tile.texture;
  }

  private drop(key: string, tile: Tile): void {
    this.bytes -= tile.values?.byteLength ?? 0;
    if (tile.texture) this.gl?.deleteTexture(tile.texture);
    this.tiles.delete(key);
  }

  private evict(): void {
    if (this.bytes <= ROOM && this.tiles.size < 4000) return;
    const old = [...this.tiles].filter(([, t]) => t.state !== "loading").sort(([, s], [, t]) => s.used - t.used);
    for (const [key, tile] of old) {
      if (this.bytes <= ROOM * 0.8 && this.tiles.size < 3000) return;
      this.drop(key, tile);
    }
  }

  /** More rows are there, or all of it is new: forgets what was not complete, or everything. */
  update(info: VolumeInfo): void {
    const other = info.version !== this.info.version;
    this.info = info;
    for (const [key, tile] of this.tiles) {
      if (other || tile.partial || tile.state === "absent" || tile.state === "failed") {
        tile.abort.abort();
        this.drop(key, tile);
      }
    }
  }

  /** The value of a voxel of a slice, if its tile is there. */
  valueAt(axis: Axis, level: number, index: number, column: number, line: number): number | null {
    const [x0, y0] = [Math.floor(column / TILE) * TILE, Math.floor(line / TILE) * TILE];
    const tile = this.tiles.get(`${axis}/${level}/${index}/${x0}/${y0}`);
    if (!tile?.values || column >= x0 + tile.w || line >= y0 + tile.h) return null;
    return tile.values[(line - y0) * tile.w + (column - x0)] ?? null;
  }

  dispose(): void {
    for (const [key, tile] of this.tiles) {
      tile.abort.abort();
      this.drop(key, tile);
    }
  }
}
