// The controls at the edge. They show the view and ask for changes of it; they hold nothing of their own.

import { type Axis, type Entry, type VolumeInfo, AXES } from "./api";
import { drawProfile, profileText } from "./chart";
import { HistogramView } from "./histogram";
import { type Profile, lengthText, numberText, unitName } from "./measure";
import { save } from "./shot";
import { PRESETS } from "./transfer";
import { type Layout, type Tool, type View, WHOLE } from "./view";

/** What the controls can ask for. */
export interface Wishes {
  change(change: Partial<View>): void;
  tool(tool: Tool): void;
  autoWindow(): void;
  reset(): void;
  screenshot(): void;
  copyLink(): void;
  shareLink(): void;
  compare(id: string | null): void;
  clearMarks(): void;
  help(): void;
}

function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A row of buttons of which one is pressed. */
function choice<T extends string>(
  label: string,
  options: readonly (readonly [T, string, string])[],
  pick: (value: T) => void,
): { element: HTMLElement; show: (value: T) => void } {
  const buttons = options.map(([value, text, title]) => {
    const button = element("button", { type: "button", textContent: text, title });
    button.addEventListener("click", () => pick(value));
    return [value, button] as const;
  });
  const group = element("div", { className: "choice" }, ...buttons.map(([, button]) => button));
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", label);
  return {
    element: group,
    show: (value) => buttons.forEach(([own, button]) => button.setAttribute("aria-pressed", String(own === value))),
  };
}

function slider(label: string, pick: (value: number) => void): { element: HTMLElement; input: HTMLInputElement } {
  const input = element("input", { type: "range", min: "0", max: "1", step: "0.01" });
  input.addEventListener("input", () => pick(Number(input.value)));
  return { element: element("label", { className: "slider" }, element("span", { textContent: label }), input), input };
}

function toggle(label: string, pick: (on: boolean) => void): { element: HTMLElement; input: HTMLInputElement } {
  const input = element("input", { type: "checkbox" });
  input.addEventListener("change", () => pick(input.checked));
  return { element: element("label", { className: "toggle" }, input, label), input };
}

function button(text: string, title: string, act: () => void): HTMLButtonElement {
  const made = element("button", { type: "button", textContent: text, title });
  made.addEventListener("click", act);
  return made;
}

export class Panel {
  readonly element = element("aside", { className: "panel" });
  private readonly name = element("h1");
  private readonly facts = element("p", { className: "quiet" });
  private readonly growth = element("p", { className: "growth" });
  private readonly layout;
  private readonly tool;
  private readonly histogram: HistogramView;
  private readonly lo = element("input", { type: "text", inputMode: "decimal", className: "number" });
  private readonly hi = element("input", { type: "text", inputMode: "decimal", className: "number" });
  private readonly invert;
  private readonly three = element("section");
  private readonly preset = element("select");
  private readonly threshold;
  private readonly density;
  private readonly light;
  private readonly planes;
  private readonly crops: HTMLInputElement[] = [];
  private readonly cropText: HTMLElement[] = [];
  private readonly other = element("select");
  private readonly shareButton: HTMLButtonElement;
  private readonly said = element("p", { className: "quiet said" });
  private readonly profileSection = element("section", { hidden: true });
  private readonly profileCanvas = element("canvas", { className: "profile" });
  private readonly profileFacts = element("p", { className: "quiet" });
  private shown = "";
  private profile: { profile: Profile; info: VolumeInfo } | null = null;

  constructor(private readonly wishes: Wishes) {
    const layouts: [Layout, string, string][] = [
      ["z", "z", "Slices along z (1)"], ["y", "y", "Slices along y (2)"], ["x", "x", "Slices along x (3)"],
      ["quad", "all", "Three slices and 3-D (4)"], ["3d", "3-D", "The volume (5)"],
    ];
    this.layout = choice("What is shown", layouts, (layout) => wishes.change({ layout }));
    const tools: [Tool, string, string][] = [
      ["move", "move", "Drag moves the picture (v)"], ["distance", "distance", "Measure a distance (d)"],
      ["angle", "angle", "Measure an angle (a)"], ["profile", "profile", "Values along a line (p)"],
    ];
    this.tool = choice("Tool", tools, (tool) => wishes.tool(tool));
    this.histogram = new HistogramView((lo, hi) => wishes.change({ lo, hi }));
    for (const [input, key] of [[this.lo, "lo"], [this.hi, "hi"]] as const) {
      input.setAttribute("aria-label", key === "lo" ? "Value shown black" : "Value shown white");
      input.addEventListener("change", () => {
        const value = Number(input.value.replace(",", "."));
        if (input.value.trim() && Number.isFinite(value)) wishes.change({ [key]: value });
        input.blur();
      });
    }
    this.invert = toggle("inverted", (invert) => wishes.change({ invert }));
    this.threshold = slider("threshold", (threshold) => wishes.change({ threshold }));
    this.density = slider("density", (density) => wishes.change({ density }));
    this.light = toggle("light", (light) => wishes.change({ light }));
    this.planes = toggle("slice planes", (planes) => wishes.change({ planes }));
    this.shareButton = button("link for napari, Neuroglancer", "Copies a link to the .zarr that works for 24 hours", () => wishes.shareLink());
    this.build();
  }

  private build(): void {
    const { wishes } = this;
    for (const { id, name } of PRESETS) this.preset.append(element("option", { value: id, textContent: name }));
    this.preset.setAttribute("aria-label", "Look");
    this.preset.addEventListener("change", () => wishes.change({ preset: this.preset.value }));
    const crop = element("div", { className: "crops" });
    AXES.forEach((axis, i) => {
      const text = element("span", { className: "quiet tabular" });
      const ends = [0, 1].map((end) => {
        const input = element("input", { type: "range", min: "0", max: "1", step: "0.005" });
        input.setAttribute("aria-label", `${axis} ${end ? "to" : "from"}`);
        input.addEventListener("input", () => this.cropBy(i as Axis, end as 0 | 1, Number(input.value)));
        return input;
      });
      this.crops.push(...ends);
      this.cropText.push(text);
      crop.append(element("div", { className: "crop" }, element("span", { textContent: axis }), ...ends, text));
    });
    const whole = button("whole volume", "Takes the crop away", () => wishes.change({ crop: [...WHOLE] }));
    this.three.append(
      element("h2", { textContent: "3-D" }), this.preset, this.threshold.element, this.density.element,
      element("div", { className: "row" }, this.light.element, this.planes.element),
      element("h3", { textContent: "Crop: a smaller box is shown finer" }), crop, whole,
    );
    this.other.setAttribute("aria-label", "Compare with");
    this.other.addEventListener("change", () => wishes.compare(this.other.value || null));
    this.profileSection.append(
      element("h2", { textContent: "Profile" }), this.profileCanvas, this.profileFacts,
      button("save as CSV", "Distances and values", () => {
        if (this.profile) save(new Blob([profileText(this.profile.profile, this.profile.info)], { type: "text/csv" }), "profile.csv");
      }),
    );
    this.growth.setAttribute("role", "status");
    this.said.setAttribute("role", "status");
    this.element.append(
      element("section", {}, this.name, this.facts, this.growth, this.layout.element),
      element("section", {},
        element("h2", { textContent: "Window" }), this.histogram.element,
        element("div", { className: "row" }, this.lo, "to", this.hi, button("auto", "The window that the data propose (w)", () => wishes.autoWindow())),
        this.invert.element),
      this.three,
      element("section", {}, element("h2", { textContent: "Measure" }), this.tool.element, button("clear", "Removes all measurements", () => wishes.clearMarks())),
      this.profileSection,
      element("section", {},
        element("h2", { textContent: "Compare" }), this.other),
      element("section", {},
        element("div", { className: "row" },
          button("picture", "Saves what is shown, with its scale (s)", () => wishes.screenshot()),
          button("copy view", "Copies a link to exactly this view (l)", () => wishes.copyLink()),
          button("reset", "Everything in sight again (r)", () => wishes.reset()),
          button("?", "Keys and mouse (?)", () => wishes.help())),
        this.shareButton, this.said),
    );
  }

  private cropBy(axis: Axis, end: 0 | 1, value: number): void {
    const crop = this.crops.map((input) => Number(input.value)) as View["crop"];
    const other = crop[2 * axis + 1 - end]!;
    crop[2 * axis + end] = end ? Math.max(value, other + 0.02) : Math.min(value, other - 0.02);
    this.wishes.change({ crop });
  }

  /** The volumes there are to compare with. */
  offer(entries: readonly Entry[], own: string): void {
    const options = entries.filter((e) => e.id !== own).map((e) => element("option", { value: e.id, textContent: entries.some((o) => o !== e && o.name === e.name) ? e.id : e.name }));
    this.other.replaceChildren(element("option", { value: "", textContent: options.length ? "nothing" : "no other volume here" }), ...options);
    this.other.disabled = !options.length;
    this.shown = "";
  }

  /** A short message, until the next. */
  say(text: string): void {
    this.said.textContent = text;
  }

  showProfile(profile: Profile | null, info: VolumeInfo): void {
    this.profile = profile && { profile, info };
    this.profileSection.hidden = !profile;
    if (!profile) return;
    drawProfile(this.profileCanvas, profile, info);
    const finite = profile.values.filter(Number.isFinite);
    const mean = finite.reduce((sum, v) => sum + v, 0) / Math.max(finite.length, 1);
    this.profileFacts.textContent = `${profile.at.length} points at level ${profile.level}, mean ${numberText(mean)} ${info.unit ?? ""}`;
  }

  show(info: VolumeInfo, view: View, tool: Tool): void {
    // Most pictures differ from the last in their place alone, which is not shown here.
    const { at: _at, mid: _mid, zoom: _zoom, yaw: _yaw, pitch: _pitch, marks: _marks, ...rest } = view;
    const key = JSON.stringify([rest, tool, info.version, info.rows.done, info.state, this.element.clientWidth, window.devicePixelRatio]);
    if (key === this.shown) return;
    this.shown = key;
    const fine = info.levels[0]!;
    this.name.textContent = this.name.title = info.name;
    const voxel = fine.scale.every((s) => s === fine.scale[0]) ? numberText(fine.scale[0]) : fine.scale.map(numberText).join(" × ");
    const size = fine.shape.map((n, i) => lengthText(info, n * fine.scale[i]!)).join(" × ");
    const unit = info.length_unit === "um" ? `voxel ${voxel} ${unitName(info)}, ${size}` : "voxel size not known";
    this.facts.textContent = `${fine.shape.join(" × ")} (z, y, x), ${info.dtype}, ${unit}`;
    const growing = info.state === "growing";
    this.growth.hidden = !growing;
    this.growth.textContent = growing ? `▸ being reconstructed: ${info.rows.done} of ${info.rows.total} rows are there` : "";
    this.layout.show(view.layout);
    this.tool.show(tool);
    const with3d = view.layout === "3d" || view.layout === "quad";
    this.three.hidden = !with3d;
    this.histogram.draw(info, view, view.layout === "3d");
    for (const [input, value] of [[this.lo, view.lo], [this.hi, view.hi]] as const) {
      if (document.activeElement !== input) input.value = numberText(value);
    }
    this.invert.input.checked = view.invert;
    this.preset.value = view.preset;
    this.threshold.input.value = String(view.threshold);
    this.density.input.value = String(view.density);
    this.light.input.checked = view.light;
    this.planes.input.checked = view.planes;
    view.crop.forEach((share, i) => (this.crops[i]!.value = String(share)));
    this.cropText.forEach((text, i) => {
      const n = fine.shape[i]!;
      text.textContent = `${Math.round(view.crop[2 * i]! * n)}–${Math.round(view.crop[2 * i + 1]! * n)}`;
    });
    this.other.value = view.with ?? "";
    this.shareButton.disabled = !info.share.allowed || !info.zarr;
    this.shareButton.title = info.share.reason ?? (info.zarr ? "Copies a link to the .zarr that works for 24 hours" : "This volume is a TIFF stack; there is no .zarr");
  }
}
