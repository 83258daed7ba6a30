// The viewer: holds the view, draws when something changed, and keeps the address in step.

import { type Axis, type Vec3, type VolumeInfo, ServerError, info as describe, list, share, whenReachable } from "./api";
import { Device } from "./gl";
import { Help } from "./help";
import { type Stage, listen } from "./input";
import { Marcher } from "./march";
import { lengthText, numberText, profile } from "./measure";
import { drawOverlay } from "./overlay";
import { Panel } from "./panel";
import { Source, type Pane, arrange } from "./panes";
import { compose, save } from "./shot";
import { Status } from "./status";
import { SlicePainter, look } from "./slices";
import type { Tile } from "./tiles";
import { type Mark, type Tool, type View, WHOLE, extent, fit, fit3, fromFragment, initial, plane, toFragment } from "./view";

/** Milliseconds between questions about a volume that grows. */
const GROWTH = 2000;

export class App implements Stage {
  view: View;
  tool: Tool = "move";
  pending: Mark | null = null;
  panes: Pane[] = [];
  readonly sources: Source[];
  frames = 0;
  private readonly panel: Panel;
  private readonly keys = new Help();
  private readonly painter: SlicePainter;
  private readonly stageBox = document.createElement("main");
  private readonly canvas = document.createElement("canvas");
  private readonly device = new Device(this.canvas);
  private readonly overlay = document.createElement("canvas");
  private readonly status = new Status((index) => {
    const pane = this.sliding();
    if (pane) this.go(pane, index);
  });
  private readonly banner = document.createElement("div");
  private readonly foldButton = document.createElement("button");
  private drawing = false;
  private moved = 0;
  private settle = 0;
  /** Which way the last step went. */
  private heading = 1;
  private written = 0;
  private over: { pane: Pane; x: number; y: number } | null = null;
  private last: Pane | null = null;
  private player = 0;
  private offered = false;

  constructor(first: VolumeInfo) {
    this.sources = [new Source(this.device, first, () => this.redraw())];
    this.panel = new Panel({
      change: (change) => this.change(change, true),
      tool: (tool) => this.setTool(tool),
      autoWindow: () => this.autoWindow(),
      reset: () => this.reset(),
      screenshot: () => this.screenshot(),
      copyLink: () => this.copyLink(),
      shareLink: () => void this.shareLink(),
      compare: (id) => void this.compare(id),
      clearMarks: () => {
        this.change({ marks: [] });
        this.panel.showProfile(null, this.main);
      },
      help: () => this.help(),
    });
    this.build();
    const { clientWidth: w, clientHeight: h } = this.stageBox;
    this.view = fromFragment(location.hash, initial(first, w, h));
    // The first tiles are fetched while the graphics get ready.
    for (const { axis, area, source } of arrange(this.sources, this.view.layout, w, h)) {
      if (axis !== null) look(source.tiles, axis, area, this.view, window.devicePixelRatio || 1, new Set());
    }
    this.painter = new SlicePainter(this.device.gl);
    listen(this.canvas, this);
    new ResizeObserver(() => this.resize()).observe(this.stageBox);
    window.addEventListener("hashchange", () => {
      if (`#${toFragment(this.view)}` === location.hash) return;
      const { with: before } = this.view;
      this.view = fromFragment(location.hash, this.view);
      if (this.view.with !== before) void this.compare(this.view.with);
      this.redraw();
    });
    this.canvas.addEventListener("webglcontextlost", (e) => {
      e.preventDefault();
      this.tell("the graphics context was lost; reload the page");
    });
    whenReachable((reached) => {
      this.tell(reached ? null : "the server does not answer; trying again");
      if (!reached) window.setTimeout(() => this.redraw(), GROWTH);
    });
    if (this.view.with !== null) void this.compare(this.view.with);
    window.setInterval(() => void this.watch(), GROWTH);
    this.resize();
  }

  private made: Marcher | null = null;

  /** What draws volumes: made when first needed, as its shader takes a while to compile. */
  get marcher(): Marcher {
    this.made ??= new Marcher(this.device.gl, this.device.software);
    return this.made;
  }

  private build(): void {
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("aria-label", "Slices and volume; press ? for the keys");
    this.overlay.className = "overlay";
    this.banner.className = "banner";
    this.banner.hidden = true;
    this.banner.setAttribute("role", "alert");
    Object.assign(this.foldButton, { type: "button", className: "fold", textContent: "controls", title: "Shows or folds the controls (h)" });
    this.foldButton.addEventListener("click", () => this.fold());
    this.stageBox.append(this.canvas, this.overlay, this.banner, this.foldButton);
    const left = document.createElement("div");
    left.className = "left";
    left.append(this.stageBox, this.status.element);
    document.body.append(left, this.panel.element, this.keys.element);
    if (window.innerWidth < 700) document.body.classList.add("folded");
  }

  private get main(): VolumeInfo {
    return this.sources[0]!.info;
  }

  private tell(text: string | null): void {
    this.banner.hidden = text === null;
    this.banner.textContent = text;
  }

  /** Fetches the list of volumes, once: when there is something to see. */
  private async offer(): Promise<void> {
    if (this.offered || this.panes.some((p) => p.drawn.ready < p.drawn.tiles)) return;
    this.offered = true;
    try {
      this.panel.offer(await list(), this.main.id);
    } catch (reason) {
      this.panel.say(`the list of volumes is not there: ${String(reason)}`);
    }
    this.redraw();
  }

  /** Asks whether more rows have come. */
  private async watch(): Promise<void> {
    for (const source of this.sources) {
      if (source.info.state !== "growing") continue;
      try {
        const now = await describe(source.info.id);
        const before = source.info;
        if (now.rows.done === before.rows.done && now.version === before.version) continue;
        const untouched = this.view.lo === before.window.start && this.view.hi === before.window.end;
        source.update(now);
        if (source === this.sources[0] && untouched) [this.view.lo, this.view.hi] = [now.window.start, now.window.end];
      } catch {
        // The banner says that the server is away; the next question may be answered.
        continue;
      }
      this.redraw();
    }
  }

  private resize(): void {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: w, clientHeight: h } = this.stageBox;
    for (const canvas of [this.canvas, this.overlay]) {
      canvas.width = Math.max(Math.round(w * ratio), 1);
      canvas.height = Math.max(Math.round(h * ratio), 1);
    }
    this.redraw();
  }

  /** Draws once, before the next picture of the screen. */
  redraw(): void {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      this.draw();
    });
  }

  private draw(): void {
    const gl = this.device.gl;
    if (gl.isContextLost()) return;
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: w, clientHeight: h } = this.stageBox;
    const { view } = this;
    const drawn = this.panes;
    this.panes = arrange(this.sources, view.layout, w, h);
    if (this.last) this.last = this.panes.find((p) => p.kind === this.last?.kind && p.source === this.last.source) ?? null;
    drawn.forEach((pane, i) => this.panes[i] && (this.panes[i]!.drawn = pane.drawn));
    const moving = performance.now() - this.moved < 180;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.disable(gl.SCISSOR_TEST);
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0.055, 0.06, 0.07, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    const wanted = new Set<Tile>();
    this.panes.forEach((pane, i) => {
      const { area } = pane;
      if (area.w < 2 || area.h < 2) return;
      if (pane.axis === null) {
        pane.source.bricks.want(view);
        const loaded = pane.source.bricks.shown;
        if (loaded) this.marcher.draw(`${i}`, pane.source.info, loaded, area, view, ratio, moving);
        return;
      }
      gl.viewport(area.x * ratio, this.canvas.height - (area.y + area.h) * ratio, area.w * ratio, area.h * ratio);
      pane.drawn = this.painter.draw(pane.source.tiles, pane.axis, area, view, ratio, wanted);
    });
    for (const source of this.sources) source.tiles.only(wanted);
    this.ahead(wanted, moving);
    const c = this.overlay.getContext("2d");
    if (c) drawOverlay(c, this.panes, view, this.pending, ratio);
    this.panel.show(this.main, view, this.tool);
    this.status.slide(this.sliding(), this.view);
    this.status.point(this.over, this.main, this.view);
    this.frames += 1;
    void this.offer();
    if (moving) {
      // Once more, finely, when the hand rests.
      window.clearTimeout(this.settle);
      this.settle = window.setTimeout(() => this.redraw(), 200);
    }
    if (performance.now() - this.written > 250) this.writeAddress();
    else window.setTimeout(() => this.writeAddress(), 300);
  }

  /** Fetches the neighbours of a slice that is complete, those first that lie ahead. */
  private ahead(wanted: Set<Tile>, moving: boolean): void {
    for (const pane of this.panes) {
      const { axis, drawn, source } = pane;
      if (axis === null || drawn.index === null || drawn.ready < drawn.tiles || pane !== (this.last ?? this.panes[0])) continue;
      const { u, v } = plane(axis);
      const half = [(pane.area.w / 2) * this.view.zoom, (pane.area.h / 2) * this.view.zoom] as const;
      const sight = { u0: this.view.mid[u] - half[0], u1: this.view.mid[u] + half[0], v0: this.view.mid[v] - half[1], v1: this.view.mid[v] + half[1] };
      const n = source.info.levels[drawn.level]?.shape[axis] ?? 0;
      for (const by of moving ? [1, 2, 3] : [1, 2, -1]) {
        const index = drawn.index + by * this.heading;
        if (index < 0 || index >= n) continue;
        const tiles = source.tiles.cover(axis, drawn.level, index, sight);
        tiles.forEach((t) => wanted.add(t));
        source.tiles.want(tiles);
      }
    }
  }

  private writeAddress(): void {
    this.written = performance.now();
    const fragment = `#${toFragment(this.view)}`;
    if (location.hash !== fragment) history.replaceState(null, "", fragment);
  }

  // What input and controls ask for.

  change(change: Partial<View>, moving = false): void {
    const next = { ...this.view, ...change };
    if (!(next.lo < next.hi)) return;
    if (next.layout !== this.view.layout) this.reframe(next);
    const { from, to } = extent(this.main);
    const size = Math.hypot(to[0] - from[0], to[1] - from[1], to[2] - from[2]);
    const bound = (zoom: number): number => Math.min(Math.max(zoom, size * 1e-6), size / 20);
    [next.zoom, next.zoom3] = [bound(next.zoom), bound(next.zoom3)];
    next.mid = next.mid.map((m, i) => Math.min(Math.max(m, from[i]!), to[i]!)) as Vec3;
    this.view = next;
    if (moving) this.moved = performance.now();
    this.redraw();
  }

  /** Keeps as much in sight as before when pictures become smaller or larger. */
  private reframe(next: View): void {
    const { clientWidth: w, clientHeight: h } = this.stageBox;
    const side = (layout: View["layout"]): number => {
      const { area } = arrange(this.sources, layout, w, h)[0]!;
      return Math.max(Math.min(area.w, area.h), 1);
    };
    const factor = side(this.view.layout) / side(next.layout);
    next.zoom *= factor;
    next.zoom3 *= factor;
  }

  step(pane: Pane, by: number): void {
    if (pane.axis === null) return;
    const { axis } = pane;
    const fine = pane.source.info.levels[0]!;
    // In steps of what is shown: a coarse level has no slices between.
    const scale = pane.source.info.levels[pane.drawn.level]?.scale[axis] ?? fine.scale[axis];
    const stride = Math.max(Math.round(scale / fine.scale[axis]), 1);
    const now = Math.round((this.view.at[axis] - fine.translation[axis]) / fine.scale[axis]);
    this.heading = Math.sign(by) || 1;
    this.go(pane, now + by * stride);
  }

  /** Shows slice `index` of level 0, or the nearest that there is. */
  private go(pane: Pane, index: number): void {
    if (pane.axis === null) return;
    const fine = pane.source.info.levels[0]!;
    const at: Vec3 = [...this.view.at];
    const n = Math.min(Math.max(index, 0), fine.shape[pane.axis] - 1);
    at[pane.axis] = fine.translation[pane.axis] + n * fine.scale[pane.axis];
    this.change({ at }, true);
  }

  /** The pane whose slice the slider moves. */
  private sliding(): Pane | null {
    const active = this.active();
    return active && active.axis !== null ? active : (this.panes.find((p) => p.axis !== null) ?? null);
  }

  pane(x: number, y: number): Pane | null {
    return this.panes.find((pane) => pane.has(x, y)) ?? null;
  }

  active(): Pane | null {
    return this.over?.pane ?? this.last ?? this.panes[0] ?? null;
  }

  point(pane: Pane | null, x: number, y: number): void {
    this.over = pane && { pane, x, y };
    if (pane) this.last = pane;
    this.status.point(this.over, this.main, this.view);
  }

  setTool(tool: Tool): void {
    this.tool = tool;
    this.pending = null;
    this.canvas.classList.toggle("aim", tool !== "move");
    this.redraw();
  }

  finish(mark: Mark): void {
    const marks = mark.tool === "profile" ? this.view.marks.filter((m) => m.tool !== "profile") : this.view.marks;
    this.change({ marks: [...marks, mark] });
    if (mark.tool === "profile") void this.plot(mark);
  }

  removeLast(): void {
    this.change({ marks: this.view.marks.slice(0, -1) });
  }

  private async plot(mark: Mark): Promise<void> {
    try {
      const made = await profile(this.main, mark.axis, mark.points[0]!, mark.points[1]!, new AbortController().signal);
      this.panel.showProfile(made, this.main);
    } catch (reason) {
      this.panel.say(`the profile cannot be read: ${reason instanceof Error ? reason.message : String(reason)}`);
    }
  }

  autoWindow(): void {
    const { start, end } = this.main.window;
    this.change({ lo: start, hi: end });
  }

  reset(): void {
    const pane = this.panes[0];
    if (!pane) return;
    const { from, to } = extent(this.main);
    const zoom = this.panes.reduce((z, p) => (p.axis === null ? z : Math.max(z, fit(this.main, p.axis, p.area.w, p.area.h))), 0);
    this.change({
      mid: from.map((a, i) => (a + to[i]!) / 2) as Vec3,
      zoom: zoom || this.view.zoom,
      zoom3: fit3(this.main, pane.area.w, pane.area.h),
      crop: [...WHOLE],
    });
  }

  playing(on = !this.player): void {
    window.clearInterval(this.player);
    this.player = 0;
    const pane = this.active();
    if (!on || !pane || pane.axis === null) return;
    const axis = pane.axis;
    this.player = window.setInterval(() => {
      const now = this.panes.find((p) => p.axis === axis);
      // The next slice comes when this one is there.
      if (!now || now.drawn.ready < now.drawn.tiles) return;
      const before = this.view.at[axis];
      this.step(now, 1);
      if (this.view.at[axis] === before) this.playing(false);
    }, 40);
  }

  help(): void {
    this.keys.toggle();
  }

  fold(): void {
    document.body.classList.toggle("folded");
  }

  screenshot(): void {
    const made = this.picture();
    made.toBlob((blob) => blob && save(blob, `${this.main.name}.png`), "image/png");
  }

  /** What is shown, with its scale and what it is. */
  picture(): HTMLCanvasElement {
    const { view } = this;
    const names = this.sources.map((s) => s.info.name).join("  |  ");
    const at = (["z", "y", "x"] as const).map((a, i) => `${a} ${lengthText(this.main, view.at[i]!)}`).join(", ");
    const line = `${at} · window ${numberText(view.lo)} to ${numberText(view.hi)} ${this.main.unit ?? ""} · beamrail`;
    return compose(this.canvas, this.overlay, [names, line]);
  }

  copyLink(): void {
    this.writeAddress();
    void this.copy(location.href, "the link to this view is copied");
  }

  private async shareLink(): Promise<void> {
    try {
      const { path, expires } = await share(this.main.id, 24);
      const until = new Date(expires * 1000).toLocaleString();
      await this.copy(new URL(path, location.href).href, `copied; read-only, for anybody who has it, until ${until}`);
    } catch (reason) {
      this.panel.say(reason instanceof ServerError ? reason.message : `no link: ${String(reason)}`);
    }
  }

  /** Copies text; where the browser refuses (plain http), shows it to be copied by hand. */
  private async copy(text: string, done: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
      this.panel.say(done);
    } catch {
      window.prompt(`Copy this (${done.replace(/^.*copied;? ?/, "") || "link to this view"})`, text);
    }
  }

  async compare(id: string | null): Promise<void> {
    for (const source of this.sources.splice(1)) source.dispose();
    this.view.with = id;
    if (id !== null) {
      try {
        const other = await describe(id);
        if (this.view.with === id) this.sources.push(new Source(this.device, other, () => this.redraw()));
      } catch (reason) {
        this.view.with = null;
        this.panel.say(`${id} cannot be shown: ${reason instanceof Error ? reason.message : String(reason)}`);
      }
    }
    this.redraw();
  }

  /** The voxel of level `level` that a pane shows at a point of the page, for tests. */
  shownAt(pane: number, x: number, y: number): { axis: Axis; level: number; index: number; column: number; line: number; value: number | null } | null {
    const p = this.panes[pane];
    if (!p || p.axis === null || p.drawn.index === null) return null;
    const { u, v } = plane(p.axis);
    const level = p.source.info.levels[p.drawn.level]!;
    const position = p.toPosition(x, y, this.view);
    const [column, line] = [u, v].map((a) => Math.round((position[a as Axis] - level.translation[a as Axis]) / level.scale[a as Axis])) as [number, number];
    return { axis: p.axis, level: p.drawn.level, index: p.drawn.index, column, line, value: p.source.tiles.valueAt(p.axis, p.drawn.level, p.drawn.index, column, line) };
  }

  /** Grey of a point of the page as it was drawn, 0 to 255. */
  greyAt(x: number, y: number): number[] {
    const ratio = window.devicePixelRatio || 1;
    const pixel = new Uint8Array(4);
    const { gl } = this.device;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.readPixels(Math.floor(x * ratio), this.canvas.height - 1 - Math.floor(y * ratio), 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    return [...pixel];
  }

  /** Whether everything in sight is there, at the level that the zoom asks for. */
  complete(): boolean {
    return (
      !this.drawing && this.frames > 0 && performance.now() - this.moved > 250 &&
      this.panes.every((p) => (p.axis === null ? p.source.bricks.shown !== null && p.source.bricks.progress === null : p.drawn.ready === p.drawn.tiles))
    );
  }
}
