// Draws a volume: a ray for each pixel through a box of bytes, with light from the gradient.

import { type Vec3, type VolumeInfo } from "./api";
import type { Loaded } from "./bricks";
import { RECTANGLE, program, uniforms } from "./gl";
import type { Area } from "./slices";
import { preset, table } from "./transfer";
import { type View, extent } from "./view";

const FRAGMENT = `#version 300 es
precision highp float;
precision highp sampler3D;
uniform sampler3D uVolume;
uniform sampler2D uTransfer;
uniform vec2 uHalf;             // half the picture, in lengths of the volume
uniform mat3 uTurn;             // right, down, into the picture
uniform vec3 uCentre;           // x, y, z of the middle of the picture
uniform vec3 uBoxFrom, uBoxTo;  // the bytes
uniform vec3 uCutFrom, uCutTo;  // what is shown of them
uniform vec3 uVoxel, uCross;
uniform vec2 uGrey;             // bytes shown black and white, as shares
uniform float uLight, uSide;  // side: 1 where light falls on what is dense, -1 on what is not
uniform bool uBrightest, uPlanes;
in vec2 vAt;
out vec4 colour;

float byteAt(vec3 p) { return texture(uVolume, (p - uBoxFrom) / (uBoxTo - uBoxFrom)).r; }

vec3 slope(vec3 p) {
  vec3 d = 1.25 * uVoxel;
  return vec3(byteAt(p + vec3(d.x, 0, 0)) - byteAt(p - vec3(d.x, 0, 0)),
              byteAt(p + vec3(0, d.y, 0)) - byteAt(p - vec3(0, d.y, 0)),
              byteAt(p + vec3(0, 0, d.z)) - byteAt(p - vec3(0, 0, d.z)));
}

float noise(vec2 at) { return fract(52.9829189 * fract(dot(at, vec2(0.06711056, 0.00583715)))); }

void main() {
  vec2 at = (vec2(vAt.x, 1.0 - vAt.y) * 2.0 - 1.0) * uHalf;
  vec3 dir = uTurn[2];
  vec3 origin = uCentre + uTurn[0] * at.x + uTurn[1] * at.y;
  vec3 inv = 1.0 / (dir + vec3(equal(dir, vec3(0.0))) * 1e-9);
  vec3 a = (uCutFrom - origin) * inv, b = (uCutTo - origin) * inv;
  vec3 low = min(a, b), high = max(a, b);
  float enter = max(max(low.x, low.y), low.z), leave = min(min(high.x, high.y), high.z);
  colour = vec4(0.0);
  if (enter >= leave) return;
  // The nearest of the three slice planes stops the ray.
  vec4 behind = vec4(0.0);
  if (uPlanes) {
    vec3 t = (uCross - origin) * inv;
    float stop = leave;
    for (int i = 0; i < 3; i++) if (t[i] > enter && t[i] < stop) stop = t[i];
    if (stop < leave) {
      float grey = clamp((byteAt(origin + dir * stop) - uGrey.x) / (uGrey.y - uGrey.x), 0.0, 1.0);
      behind = vec4(vec3(grey), 1.0);
      leave = stop;
    }
  }
  float voxel = min(min(uVoxel.x, uVoxel.y), uVoxel.z);
  float pace = max(0.75 * voxel, (leave - enter) / 1400.0);
  float first = enter + pace * noise(gl_FragCoord.xy);
  float best = 0.0;
  vec3 sum = vec3(0.0);
  float cover = 0.0;
  for (float t = first; t < leave; t += pace) {
    vec3 p = origin + dir * t;
    float v = byteAt(p);
    if (uBrightest) { best = max(best, v); continue; }
    vec4 c = texture(uTransfer, vec2((v * 255.0 + 0.5) / 256.0, 0.5));
    if (c.a <= 0.0) continue;
    // A cut face shows the inside as it is: its slope would be noise.
    if (uLight > 0.0 && t - enter > 1.5 * voxel) {
      vec3 g = slope(p);
      float steep = length(g);
      vec3 n = -uSide * g / max(steep, 1e-4);
      vec3 lamp = normalize(-dir - 0.55 * uTurn[0] - 0.8 * uTurn[1]);
      float facing = max(dot(n, lamp), 0.0);
      float gleam = pow(max(dot(n, normalize(lamp - dir)), 0.0), 32.0);
      // Flat regions have no surface to be lit; their slope is the noise of the data.
      float lit = uLight * smoothstep(0.04, 0.16, steep);
      c.rgb = mix(c.rgb, c.rgb * (0.2 + 0.9 * facing) + 0.2 * gleam, lit);
    }
    float share = 1.0 - pow(1.0 - min(c.a, 0.999), pace / voxel);
    sum += (1.0 - cover) * share * c.rgb;
    cover += (1.0 - cover) * share;
    if (cover > 0.97) { cover = 1.0; break; }
  }
  if (uBrightest) {
    vec4 c = texture(uTransfer, vec2((best * 255.0 + 0.5) / 256.0, 0.5));
    sum = c.rgb * c.a;
    cover = c.a;
  }
  colour = vec4(sum + (1.0 - cover) * behind.rgb, cover + (1.0 - cover) * behind.a);
}`;

const COPY = `#version 300 es
precision highp float;
uniform sampler2D uPicture;
uniform vec3 uGround;
in vec2 vAt;
out vec4 colour;
void main() {
  vec4 c = texture(uPicture, vAt);
  colour = vec4(c.rgb + (1.0 - c.a) * uGround, 1.0);
}`;

/** Right, down and into the picture, as x, y, z. The volume stands as in its slices: z runs down. */
export function turn(view: View): [Vec3, Vec3, Vec3] {
  const [sy, cy] = [Math.sin(view.yaw), Math.cos(view.yaw)];
  const [sp, cp] = [Math.sin(view.pitch), Math.cos(view.pitch)];
  return [
    [cy, sy, 0],
    [sy * sp, -cy * sp, cp],
    [-sy * cp, cy * cp, sp],
  ];
}

/** The picture of one pane, drawn again only when something changed. */
class Picture {
  frame: WebGLFramebuffer | null = null;
  texture: WebGLTexture | null = null;
  w = 0;
  h = 0;
  key = "";
}

export class Marcher {
  private readonly of: WebGLProgram;
  private readonly copy: WebGLProgram;
  private readonly at;
  private readonly to;
  private readonly transfer: WebGLTexture;
  private readonly pictures = new Map<string, Picture>();
  /** Milliseconds that the last picture took. */
  took = 0;
  /** Milliseconds for a million rays; as many rays are sent as the time allows. */
  private pace: number;

  constructor(private readonly gl: WebGL2RenderingContext, software: boolean) {
    this.pace = software ? 3000 : 10;
    this.of = program(gl, RECTANGLE, FRAGMENT);
    this.copy = program(gl, RECTANGLE, COPY);
    this.at = uniforms(gl, this.of, [
      "uRect", "uVolume", "uTransfer", "uHalf", "uTurn", "uCentre", "uBoxFrom", "uBoxTo", "uCutFrom", "uCutTo",
      "uVoxel", "uCross", "uGrey", "uLight", "uSide", "uBrightest", "uPlanes",
    ] as const);
    this.to = uniforms(gl, this.copy, ["uRect", "uPicture", "uGround"] as const);
    this.transfer = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, this.transfer);
    gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, 256, 1);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  }

  /** Draws a volume into an area of the page. `moving`: quickly rather than finely. */
  draw(name: string, info: VolumeInfo, loaded: Loaded, area: Area, view: View, ratio: number, moving: boolean): void {
    const gl = this.gl;
    // 60 ms while a hand moves, 1.2 s for a picture to look at.
    const rays = ((moving ? 60 : 1200) / this.pace) * 1e6;
    const exact = Math.min(ratio, Math.max(Math.sqrt(rays / (area.w * area.h)), 0.2));
    // In a few steps, or the picture would be made anew for every change of pace.
    const scale = exact >= ratio ? ratio : ratio * 2 ** (Math.floor(2 * Math.log2(exact / ratio)) / 2);
    const [w, h] = [Math.max(Math.round(area.w * scale), 1), Math.max(Math.round(area.h * scale), 1)];
    const picture = this.pictures.get(name) ?? new Picture();
    this.pictures.set(name, picture);
    const { yaw, pitch, zoom3, preset: look, threshold, density, light, planes, crop, lo, hi, invert } = view;
    const key = JSON.stringify([
      area, yaw, pitch, zoom3, look, threshold, density, light, planes, crop, lo, hi, invert,
      planes ? view.at : 0, info.version, loaded.level, loaded.box, loaded.rows,
    ]);
    // The same picture is made again only if it becomes finer.
    if (key !== picture.key || !picture.frame || (w > picture.w && !moving)) {
      this.room(picture, w, h);
      const started = performance.now();
      this.march(picture, info, loaded, area, view);
      // One pixel read back waits for the picture: its time decides how fine the next one may be.
      gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
      this.took = performance.now() - started;
      this.pace = Math.max(0.5 * this.pace + 0.5 * (this.took / (w * h)) * 1e6, 0.1);
      gl.bindFramebuffer(gl.FRAMEBUFFER, null);
      picture.key = key;
    }
    gl.useProgram(this.copy);
    gl.viewport(area.x * ratio, gl.canvas.height - (area.y + area.h) * ratio, area.w * ratio, area.h * ratio);
    gl.uniform4f(this.to.uRect, -1, -1, 1, 1);
    gl.uniform1i(this.to.uPicture, 0);
    gl.uniform3f(this.to.uGround, 0.055, 0.06, 0.07);
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, picture.texture);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }

  private room(picture: Picture, w: number, h: number): void {
    const gl = this.gl;
    if (picture.w !== w || picture.h !== h) {
      if (picture.texture) gl.deleteTexture(picture.texture);
      picture.frame ??= gl.createFramebuffer();
      picture.texture = gl.createTexture();
      gl.bindTexture(gl.TEXTURE_2D, picture.texture);
      gl.texStorage2D(gl.TEXTURE_2D, 1, gl.RGBA8, w, h);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.LINEAR);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE);
      gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE);
      gl.bindFramebuffer(gl.FRAMEBUFFER, picture.frame);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, picture.texture, 0);
      [picture.w, picture.h] = [w, h];
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, picture.frame);
  }

  private march(picture: Picture, info: VolumeInfo, loaded: Loaded, area: Area, view: View): void {
    const gl = this.gl;
    const level = info.levels[loaded.level]!;
    const whole = extent(info);
    const xyz = (f: (i: 0 | 1 | 2) => number): [number, number, number] => [f(2), f(1), f(0)];
    const face = (i: 0 | 1 | 2, n: number): number => level.translation[i] + (n - 0.5) * level.scale[i];
    // The last voxel of an odd level sticks out of the volume by half a fine voxel or more; it is cut there.
    const cut = (i: 0 | 1 | 2, share: number): number => whole.from[i] + share * (whole.to[i] - whole.from[i]);
    const look = preset(view.preset);
    gl.viewport(0, 0, picture.w, picture.h);
    gl.disable(gl.SCISSOR_TEST);
    gl.useProgram(this.of);
    gl.activeTexture(gl.TEXTURE1);
    gl.bindTexture(gl.TEXTURE_2D, this.transfer);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, 256, 1, gl.RGBA, gl.UNSIGNED_BYTE, table(look, loaded, view));
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_3D, loaded.texture);
    gl.uniform1i(this.at.uVolume, 0);
    gl.uniform1i(this.at.uTransfer, 1);
    gl.uniform4f(this.at.uRect, -1, -1, 1, 1);
    gl.uniform2f(this.at.uHalf, (area.w / 2) * view.zoom3, (area.h / 2) * view.zoom3);
    gl.uniformMatrix3fv(this.at.uTurn, false, turn(view).flat());
    const box = (f: (i: 0 | 1 | 2) => number): [number, number, number] => xyz(f);
    gl.uniform3f(this.at.uCentre, ...box((i) => (cut(i, view.crop[2 * i]!) + cut(i, view.crop[2 * i + 1]!)) / 2));
    gl.uniform3f(this.at.uBoxFrom, ...box((i) => face(i, loaded.box.from[i])));
    gl.uniform3f(this.at.uBoxTo, ...box((i) => face(i, loaded.box.to[i])));
    gl.uniform3f(this.at.uCutFrom, ...box((i) => Math.max(cut(i, view.crop[2 * i]!), face(i, loaded.box.from[i]))));
    gl.uniform3f(this.at.uCutTo, ...box((i) => Math.min(cut(i, view.crop[2 * i + 1]!), face(i, loaded.box.to[i]))));
    gl.uniform3f(this.at.uVoxel, ...box((i) => level.scale[i]));
    gl.uniform3f(this.at.uCross, ...box((i) => view.at[i]));
    const range = loaded.hi - loaded.lo;
    gl.uniform2f(this.at.uGrey, (view.lo - loaded.lo) / range, (view.hi - loaded.lo) / range);
    gl.uniform1f(this.at.uLight, view.light ? 1 : 0);
    gl.uniform1f(this.at.uSide, look.id === "voids" ? -1 : 1);
    gl.uniform1i(this.at.uBrightest, look.brightest ? 1 : 0);
    gl.uniform1i(this.at.uPlanes, view.planes ? 1 : 0);
    gl.drawArrays(gl.TRIANGLE_STRIP, 0, 4);
  }
}
