// Opens pages of Prefect's interface in a headless browser, waits for what must be on them, and takes pictures.
//
//   node tests/prefect/ui.mjs CHROMIUM PLAYWRIGHT SERVER RUN DEPLOYMENT OUT
//   node tests/prefect/ui.mjs CHROMIUM PLAYWRIGHT SERVER resume RUN NUMBER OUT
//
// PLAYWRIGHT is the folder of playwright-core, RUN a flow run that has ended, DEPLOYMENT one with a form. The second way
// answers the question of a paused run: "Resume", NUMBER into the form, "Submit". Requests to other hosts than SERVER's
// are stopped and told. Ends with 1 where something is missing.
import { createRequire } from "node:module";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [chromium, playwright, server, ...rest] = process.argv.slice(2);
const out = rest[rest.length - 1];
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

// Words must be on the page, or it is a failure.
async function picture(name, path, words, height, prepare) {
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  await page.goto(server + path, { waitUntil: "domcontentloaded" });
  for (const word of words) {
    try {
      await page.getByText(word).first().waitFor({ state: "visible", timeout: 30000 });
    } catch {
      failed = 1;
      console.log(`failed: ${name}: '${word}' is not on ${path}`);
    }
  }
  if (prepare) await prepare(page);
  await page.waitForTimeout(2500);
  await page.screenshot({ path: join(out, `${name}.png`), clip: { x: 0, y: 0, width: 1280, height } });
  console.log(`${name}: ${errors.length} errors of scripts${errors.length ? ": " + errors[0] : ""}`);
  await page.close();
}

// As an operator answers a question.
async function resume(run, number) {
  await picture("prefect-resume", `/runs/flow-run/${run}`, ["Resume"], 800, async (page) => {
    await page.getByRole("button", { name: "Resume" }).first().click();
    const field = page.getByRole("dialog").getByRole("spinbutton").or(page.locator("[role=dialog] input, .p-modal input"));
    await field.first().waitFor({ state: "visible", timeout: 30000 });
    await field.first().fill(number);
    await page.waitForTimeout(500);
    await page.screenshot({ path: join(out, "prefect-question.png"), clip: { x: 0, y: 0, width: 1280, height: 800 } });
    await page.getByRole("button", { name: /^(Submit|Resume)$/ }).last().click();
  });
}

async function walk([run, deployment]) {
  await picture("prefect-run", `/runs/flow-run/${run}`, ["Completed", "Task Runs", "Artifacts"], 600);
  await picture("prefect-artifacts", `/runs/flow-run/${run}`, ["Artifacts"], 800, async (page) => {
    await page.getByText("Artifacts", { exact: true }).first().click();
    await page.getByText("What each step did").first().waitFor({ state: "visible", timeout: 30000 });
    await page.mouse.move(700, 650);
    await page.mouse.wheel(0, 500);
  });
  await picture("prefect-preview", `/runs/flow-run/${run}`, ["Artifacts"], 800, async (page) => {
    await page.getByText("Artifacts", { exact: true }).first().click();
    await page.getByText("preview", { exact: true }).first().click();
    await page.getByText("The middle slice", { exact: false }).first().waitFor({ state: "visible", timeout: 30000 });
    const seen = () => [...document.images].some((one) => one.src.startsWith("data:image/png") && one.naturalWidth > 10);
    await page.waitForFunction(seen, null, { timeout: 30000 }).catch(() => {
      failed = 1;
      console.log("failed: prefect-preview: no picture is shown");
    });
  });
  await picture("prefect-form", `/deployments/deployment/${deployment}/run`, ["file_path", "Submit"], 800);
  await picture("prefect-pool", "/work-pools/work-pool/beamrail?tab=Workers", ["Online"], 440);
}

try {
  await (rest[0] === "resume" ? resume(rest[1], rest[2]) : walk(rest));
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
console.log(`requests to other hosts: ${outside.size ? [...outside].join(", ") : "none"}`);
process.exit(failed);
