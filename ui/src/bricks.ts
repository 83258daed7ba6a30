// The volume for 3-D: one box of bytes on the graphics card, exchanged for a finer one when that is there.

import { type Box, type Vec3, type VolumeInfo, brick } from "./api";
import type { View } from "./view";

/** Voxels of one request. */
const PIECE = 4 << 20;

/** What is on the graphics card. */
export interface Loaded {
  texture: WebGLTexture;
  level: number;
  box: Box;
  lo: number;
  hi: number;
  version: string;
  rows: number;
}

export class BrickStore {
  shown: Loaded | null = null;
  /** Share of the finer box that has come, or null if nothing is on its way. */
  progress: number | null = null;
  /** Said to the user when a box cannot be had. */
  failure: string | null = null;
  private abort: AbortController | null = null;
  private loading = "";
  private failed = "";
  private readonly side: number;

  constructor(
    private readonly gl: WebGL2RenderingContext,
    public info: VolumeInfo,
    /** Voxels that the graphics card draws with ease. */
    private readonly budget: number,
    private readonly changed: () => void,
  ) {
    this.side = gl.getParameter(gl.MAX_3D_TEXTURE_SIZE) as number;
  }

  /** The box of a level that a crop leaves, a voxel wider on each side for smooth edges. */
  private box(level: number, crop: View["crop"]): Box {
    const shape = this.info.levels[level]!.shape;
    const from = shape.map((n, i) => Math.max(Math.floor(crop[2 * i]! * n) - 1, 0)) as Vec3;
    const to = shape.map((n, i) => Math.min(Math.max(Math.ceil(crop[2 * i + 1]! * n) + 1, from[i]! + 1), n)) as Vec3;
    return { from, to };
  }

  private size({ from, to }: Box): number {
    return (to[0] - from[0]) * (to[1] - from[1]) * (to[2] - from[2]);
  }

  private fits(box: Box): boolean {
    return this.size(box) <= this.budget && box.to.every((n, i) => n - box.from[i]! <= this.side);
  }

  /** Starts whatever brings what is shown closer to the view: first something coarse, then the finest that fits. */
  want(view: View): void {
    const last = this.info.levels.length - 1;
    let best = last;
    while (best > 0 && this.fits(this.box(best - 1, view.crop))) best -= 1;
    if (!this.fits(this.box(best, view.crop))) {
      this.failure = "this volume has no level that is small enough for 3-D";
      return;
    }
    const current = this.shown;
    const sharp = current !== null && this.suits(current, view);
    if (sharp && current.level <= best && this.covers(current, view.crop)) {
      // What was on its way is no longer of use.
      if (this.loading) this.stop();
      return;
    }
    // Nothing there yet: a level with few voxels comes within a second.
    let level = best;
    if (!sharp) {
      while (level < last && this.size(this.box(level, view.crop)) > PIECE) level += 1;
    }
    this.load(level, view);
  }

  private stop(): void {
    this.abort?.abort();
    this.loading = "";
    this.progress = null;
  }

  /** Whether the bytes tell apart what the window shows, and are of the rows that are there. */
  private suits(loaded: Loaded, view: View): boolean {
    const [width, range] = [view.hi - view.lo, loaded.hi - loaded.lo];
    return (
      loaded.version === this.info.version && loaded.rows === this.info.rows.done &&
      width > range / 6 && loaded.lo <= view.lo + 0.02 * width && loaded.hi >= view.hi - 0.02 * width
    );
  }

  private covers(loaded: Loaded, crop: View["crop"]): boolean {
    const { from, to } = this.box(loaded.level, crop);
    return from.every((n, i) => n >= loaded.box.from[i]!) && to.every((n, i) => n <= loaded.box.to[i]!);
  }

  private load(level: number, view: View): void {
    const box = this.box(level, view.crop);
    const width = view.hi - view.lo;
    const [lo, hi] = [view.lo - 0.5 * width, view.hi + 0.5 * width];
    const key = [level, ...box.from, ...box.to, this.info.version, this.info.rows.done].join();
    // A window that is being dragged does not start over with every step.
    if (key === this.loading || key === this.failed) return;
    this.abort?.abort();
    const abort = new AbortController();
    [this.abort, this.loading, this.progress] = [abort, key, 0];
    const { version, rows } = this.info;
    this.fetch(level, box, lo, hi, abort.signal).then(
      (texture) => {
        if (abort.signal.aborted) return this.gl.deleteTexture(texture);
        if (this.shown) this.gl.deleteTexture(this.shown.texture);
        this.shown = { texture, level, box, lo, hi, version, rows: rows.done };
        [this.loading, this.progress, this.failure] = ["", null, null];
        this.changed();
      },
      (reason: unknown) => {
        if (abort.signal.aborted) return;
        [this.loading, this.progress, this.failed] = ["", null, key];
        this.failure = reason instanceof Error ? reason.message : String(reason);
        setTimeout(() => {
          this.failed = "";
          this.changed();
        }, 3000);
        this.changed();
      },
    );
  }

  private async fetch(level: number, box: Box, lo: number, hi: number, signal: AbortSignal): Promise<WebGLTexture> {
    const gl = this.gl;
    const [d, h, w] = box.to.map((n, i) => n - box.from[i]!) as Vec3;
    const texture = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_3D, texture);
    gl.texStorage3D(gl.TEXTURE_3D, 1, gl.R8, w, h, d);
    for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_3D, filter, gl.LINEAR);
    for (const wrap of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T, gl.TEXTURE_WRAP_R]) {
      gl.texParameteri(gl.TEXTURE_3D, wrap, gl.CLAMP_TO_EDGE);
    }
    // Whole rows of chunks at a time, so that each is decoded once.
    const rows = Math.max(Math.floor(PIECE / (w * h) / 32) * 32, 1);
    try {
      for (let z = 0; z < d; z += rows) {
        const depth = Math.min(rows, d - z);
        const part: Box = { from: [box.from[0] + z, box.from[1], box.from[2]], to: [box.from[0] + z + depth, box.to[1], box.to[2]] };
        const answer = await brick(this.info, level, part, lo, hi, signal);
        if (!answer) continue;
        gl.bindTexture(gl.TEXTURE_3D, texture);
        gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
        gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, 0, z, w, h, depth, gl.RED, gl.UNSIGNED_BYTE, new Uint8Array(answer.data));
        this.progress = (z + depth) / d;
        this.changed();
      }
    } catch (reason) {
      gl.deleteTexture(texture);
      throw reason;
    }
    return texture;
  }

  dispose(): void {
    this.stop();
    if (this.shown) this.gl.deleteTexture(this.shown.texture);
    this.shown = null;
  }
}
