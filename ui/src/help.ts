// The keys, on one page.

const KEYS: readonly (readonly [string, string])[] = [
  ["scroll, ↑ ↓", "next slice (with Shift: ten)"],
  ["drag, ← →", "move the picture; turns the volume in 3-D"],
  ["Ctrl + scroll, + −", "zoom"],
  ["right drag", "window: sideways wider, down darker"],
  ["double click", "this point in all three slices"],
  ["two fingers", "zoom and move"],
  ["1 2 3 4 5", "slices along z, y, x; all; 3-D"],
  ["Page ↑ ↓, Home, End", "ten slices; first, last"],
  ["space", "play through the slices"],
  ["w", "the window that the data propose"],
  ["i", "invert"],
  ["d a p", "measure a distance, an angle, a profile"],
  ["v, Esc", "move again; give up a measurement"],
  ["Delete", "remove the last measurement"],
  ["r", "everything in sight again"],
  ["s", "save a picture with its scale"],
  ["l", "copy a link to this view"],
  ["h", "fold the controls away"],
  ["?", "this page"],
];

export class Help {
  readonly element = document.createElement("dialog");

  constructor() {
    this.element.className = "help";
    const title = document.createElement("h2");
    title.textContent = "Keys and mouse";
    const list = document.createElement("dl");
    for (const [key, text] of KEYS) {
      const [term, says] = [document.createElement("dt"), document.createElement("dd")];
      [term.textContent, says.textContent] = [key, text];
      list.append(term, says);
    }
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "close";
    close.addEventListener("click", () => this.element.close());
    this.element.append(title, list, close);
    this.element.addEventListener("click", (e) => e.target === this.element && this.element.close());
  }

  toggle(): void {
    if (this.element.open) this.element.close();
    else this.element.showModal();
  }
}
