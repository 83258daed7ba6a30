// Opens pages of Prefect's interface in a headless browser, waits for what must be on them, and takes pictures.
//
//   node tests/prefect/ui.mjs CHROMIUM PLAYWRIGHT SERVER MAJOR walk RUN DEPLOYMENT OUT
//   node tests/prefect/ui.mjs CHROMIUM PLAYWRIGHT SERVER MAJOR resume RUN NUMBER OUT
//
// PLAYWRIGHT is the folder of playwright-core, MAJOR the server's version (3 or 2), RUN a flow run that has ended,
// DEPLOYMENT one with a form. The second way answers the question of a paused run: "Resume", NUMBER into the form,
// "Submit". Requests to other hosts than SERVER's are stopped and told. Ends with 1 where something is missing.
import { createRequire } from "node:module";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [chromium, playwright, server, major, what, ...rest] = process.argv.slice(2);
const out = rest[rest.length - 1];
// 3.x moved the pages of runs. Pictures are named after the version.
const runs = major === "2" ? "/flow-runs/flow-run" : "/runs/flow-run";
const prefect = major === "2" ? "prefect2" : "prefect";
const { chromium: browser } = createRequire(import.meta.url)(playwright);
const profile = mkdtempSync(join(tmpdir(), "prefect-ui-"));
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const context = await browser.launchPersistentContext(profile, {
  executablePath: chromium, headless: true, args: flags, viewport: { width: 1280, height: 800 },
});
const outside = new Set();
await context.route("**/*", (route) => {
  const url = new URL(route.request().url());
  if (["http:", "https:", "ws:", "wss:"].includes(url.protocol) && url.origin !== new URL(server).origin) {
    outside.add(url.origin);
    return route.abort();
  }
  return route.continue();
});
let failed = 0;
// How long pages move before their picture is taken.
const settle = 1000;

// Words must be on the page, or it is a failure.
async function has(page, words) {
  for (const word of words) {
    try {
      await page.getByText(word).first().waitFor({ state: "visible", timeout: 30000 });
    } catch {
      failed = 1;
      console.log(`failed: '${word}' is not on ${page.url()}`);
    }
  }
}

// Opens a page, and counts what its scripts complain of.
async function open(path, words) {
  const page = await context.newPage();
  page.errors = [];
  page.on("pageerror", (error) => page.errors.push(String(error)));
  await page.goto(server + path, { waitUntil: "domcontentloaded" });
  await has(page, words);
  return page;
}

async function picture(page, name, height) {
  await page.waitForTimeout(settle);
  await page.screenshot({ path: join(out, `${prefect}-${name}.png`), clip: { x: 0, y: 0, width: 1280, height } });
  const errors = page.errors.splice(0);
  console.log(`${prefect}-${name}: ${errors.length} errors of scripts${errors.length ? ": " + errors[0] : ""}`);
}

// As an operator answers a question.
async function resume(run, number) {
  const page = await open(`${runs}/${run}`, ["Resume"]);
  await page.getByRole("button", { name: "Resume" }).first().click();
  const field = page.getByRole("dialog").getByRole("spinbutton").or(page.locator("[role=dialog] input, .p-modal input"));
  await field.first().waitFor({ state: "visible", timeout: 30000 });
  await field.first().fill(number);
  await picture(page, "question", 800);
  await page.getByRole("button", { name: /^(Submit|Resume)$/ }).last().click();
  await picture(page, "resume", 800);
}

// The run's steps must be in the graph: green, as what is done. It is drawn on a canvas, so its pixels are counted.
async function graph(page) {
  const canvas = page.locator("canvas").first();
  await canvas.waitFor({ state: "visible", timeout: 30000 });
  const deadline = Date.now() + 30000;
  let green = 0;
  while (green < 1000 && Date.now() < deadline) {
    await page.waitForTimeout(250);
    green = await page.evaluate(async (picture) => {
      const image = new Image();
      image.src = `data:image/png;base64,${picture}`;
      await image.decode();
      const copy = new OffscreenCanvas(image.width, image.height).getContext("2d");
      copy.drawImage(image, 0, 0);
      const { data } = copy.getImageData(0, 0, image.width, image.height);
      let count = 0;
      for (let at = 0; at < data.length; at += 4) count += data[at + 1] > 90 && data[at + 1] > 1.5 * data[at];
      return count;
    }, (await canvas.screenshot()).toString("base64"));
  }
  console.log(`graph: ${green} pixels of steps that are done`);
  if (green < 1000) failed = 1;
}

async function walk([run, deployment]) {
  const page = await open(`${runs}/${run}`, ["Completed", "Task Runs", "Artifacts"]);
  await graph(page);
  await picture(page, "run", 600);
  await page.getByText("Artifacts", { exact: true }).first().click();
  await has(page, ["What each step did"]);
  if (await page.getByText(/^unknown$/i).count()) {
    failed = 1;
    console.log("failed: artifacts: the interface does not know what some of them are");
  }
  await page.mouse.move(700, 650);
  await page.mouse.wheel(0, 500);
  await picture(page, "artifacts", 800);
  // On a page of its own: scripts of 2.20 complain when a page with a graph is left.
  const link = page.locator('a[href*="/artifacts/artifact/"]', { hasText: "preview" }).first();
  const shown = await open(await link.getAttribute("href"), ["The middle slice"]);
  const seen = () => [...document.images].some((one) => one.src.startsWith("data:image/png") && one.naturalWidth > 10);
  await shown.waitForFunction(seen, null, { timeout: 30000 }).catch(() => {
    failed = 1;
    console.log("failed: preview: no picture is shown");
  });
  await picture(shown, "preview", 800);
  await picture(await open(`/deployments/deployment/${deployment}/run`, ["file_path", "Submit"]), "form", 800);
  await picture(await open("/work-pools/work-pool/beamrail?tab=Workers", ["Online"]), "pool", 440);
}

try {
  await (what === "resume" ? resume(rest[0], rest[1]) : walk(rest));
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
console.log(`requests to other hosts: ${outside.size ? [...outside].join(", ") : "none"}`);
process.exit(failed);
