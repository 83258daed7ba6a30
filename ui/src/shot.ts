// Saving: the picture as it is shown, with its name below.

/** Hands a file to the user. */
export function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** One picture of the drawing, what is written over it, and two lines that say what it is. */
export function compose(drawing: HTMLCanvasElement, overlay: HTMLCanvasElement, lines: readonly string[]): HTMLCanvasElement {
  const ratio = window.devicePixelRatio || 1;
  const made = document.createElement("canvas");
  const foot = Math.round((12 + 18 * lines.length) * ratio);
  made.width = drawing.width;
  made.height = drawing.height + foot;
  const c = made.getContext("2d");
  if (!c) return made;
  c.fillStyle = "#0e0f12";
  c.fillRect(0, 0, made.width, made.height);
  c.drawImage(drawing, 0, 0);
  c.drawImage(overlay, 0, 0);
  c.scale(ratio, ratio);
  c.fillStyle = "#dfe3ea";
  c.font = "12px system-ui, sans-serif";
  lines.forEach((text, i) => c.fillText(text, 10, drawing.height / ratio + 18 + 18 * i, made.width / ratio - 20));
  return made;
}
