// Draws slices: each tile a rectangle of values, windowed in the shader.

import type { Axis } from "./api";
import { RECTANGLE, program, uniforms } from "./gl";
import type { Tile, TileStore } from "./tiles";
import { type View, plane } from "./view";

const FRAGMENT = `#version 300 es
precision highp float;
uniform highp sampler2D uTile;
uniform vec2 uSize, uWindow;
uniform bool uInvert;
in vec2 vAt;
out vec4 colour;
void main() {
  ivec2 at = ivec2(clamp(vec2(vAt.x, 1.0 - vAt.y) * uSize, vec2(0.0), uSize - 1.0));
  float value = texelFetch(uTile, at, 0).r;
  // What is no number, or not there yet, is told apart from black.
  if (isnan(value) || value != value) {
    bool stripe = mod(gl_FragCoord.x + gl_FragCoord.y, 8.0) < 1.5;
    colour = vec4(stripe ? vec3(0.20, 0.24, 0.30) : vec3(0.09, 0.10, 0.12), 1.0);
    return;
  }
  float grey = clamp((value - uWindow.x) / (uWindow.y - uWindow.x), 0.0, 1.0);
  colour = vec4(vec3(uInvert ? 1.0 - grey : grey), 1.0);
}`;

/** A part of the page, in CSS pixels from its upper left corner. */
export interface Area {
  x: number;
  y: number;
  w: number;
  h: number;
}

/** What became of drawing a slice. */
export interface Drawn {
  level: number;
  index: number | null;
  /** Tiles in sight, and how many of them are there. */
  tiles: number;
  ready: number;
}

/** What a picture of a slice needs. */
interface Sight {
  level: number;
  index: number | null;
  tiles: Tile[];
  /** What stands in for tiles that are not there yet, from coarse to fine. */
  layers: Tile[][];
}

/** Asks for the tiles of the slice through `view.at` that are in sight, and tells which are there. */
export function look(store: TileStore, axis: Axis, area: Area, view: View, ratio: number, wanted: Set<Tile>): Sight {
  const { u, v } = plane(axis);
  const half = { u: (area.w / 2) * view.zoom, v: (area.h / 2) * view.zoom };
  const sight = {
    u0: view.mid[u] - half.u, u1: view.mid[u] + half.u,
    v0: view.mid[v] - half.v, v1: view.mid[v] + half.v,
  };
  const level = store.levelFor(axis, view.zoom / ratio);
  const index = store.indexAt(axis, level, view.at[axis]);
  if (index === null) return { level, index, tiles: [], layers: [] };
  const want = (tiles: Tile[]): void => {
    tiles.forEach((t) => wanted.add(t));
    store.want(tiles);
  };
  const tiles = store.cover(axis, level, index, sight);
  const layers: Tile[][] = [];
  if (tiles.some((t) => t.state !== "ready")) {
    // The coarsest level stands in, and the levels between where they are there already.
    for (let k = store.info.levels.length - 1; k > level; k--) {
      const other = store.indexAt(axis, k, view.at[axis]);
      if (other === null) continue;
      const cover = store.cover(axis, k, other, sight);
      if (k === store.info.levels.length - 1) want(cover);
      layers.push(cover.filter((t) => t.state === "ready"));
    }
  }
  want(tiles);
  return { level, index, tiles, layers };
}

export class SlicePainter {
  private readonly of: WebGLProgram;
  private readonly at;

  constructor(private readonly gl: WebGL2RenderingContext) {
    this.of = program(gl, RECTANGLE, FRAGMENT);
    this.at = uniforms(gl, this.of, ["uRect", "uTile", "uSize", "uWindow", "uInvert"] as const);
  }

  /** Draws the slice through `view.at`; adds what it needs to `wanted`. */
  draw(store: TileStore, axis: Axis, area: Area, view: View, ratio: number, wanted: Set<Tile>): Drawn {
    const { u, v } = plane(axis);
    const { level, index, tiles, layers } = look(store, axis, area, view, ratio, wanted);
    const ready = tiles.filter((t) => t.state === "ready");
    layers.push(ready);
    const gl = this.gl;
    gl.useProgram(this.of);
    gl.uniform1i(this.at.uTile, 0);
    gl.uniform2f(this.at.uWindow, view.lo, view.hi);
    gl.uniform1i(this.at.uInvert, view.invert ? 1 : 0);
    gl.activeTexture(gl.TEXTURE0);
    for (const tile of layers.flat()) this.tile(store, tile, area, view, u, v);
    return { level, index, tiles: tiles.length, ready: ready.length };
  }

  private tile(store: TileStore, tile: Tile, area: Area, view: View, u: Axis, v: Axis): void {
    const level = store.info.levels[tile.level];
    const texture = store.texture(this.gl, tile);
    if (!level || !texture) return;
    const gl = this.gl;
    const edge = (a: Axis, n: number): number => level.translation[a] + (n - 0.5) * level.scale[a];
    const x = (p: number): number => ((p - view.mid[u]) / view.zoom / area.w) * 2;
    const y = (p: number): number => (-(p - view.mid[v]) / view.zoom / area.h) * 2;
    gl.uniform4f(
      this.at.uRect,
      x(edge(u, tile.x0)), y(edge(v, tile.y0 + tile.h)),
      x(edge(u, tile.x0 + tile.w)), y(edge(v, tile.y0)),
    );
    gl.uniform2f(this.at.uSize, tile.w, tile.h);
    gl.bindTexture(gl.TEXTURE_2D, texture);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }
}
