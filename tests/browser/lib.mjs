// What the browser tests share: the server under test, a browser that may reach nothing else, and one line
// for each check, as tools/test.py reads it.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import path from "node:path";

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const { chromium } = createRequire(path.join(ROOT, "ui/package.json"))("playwright-core");

export const BEAMRAIL = process.env.BEAMRAIL ?? path.join(ROOT, process.env.CARGO_TARGET_DIR ?? "target", "release/beamrail");

let failures = 0;

/** Runs a check and tells its outcome in one line. */
export async function check(what, body) {
  try {
    await body();
    console.log(`passed: ${what}`);
  } catch (error) {
    failures += 1;
    console.log(`    ${String(error.stack ?? error).split("\n").slice(0, 6).join("\n    ")}`);
    console.log(`failed: ${what}`);
  }
}

export function finish() {
  process.exitCode = failures ? 1 : 0;
}

/** Starts a command of ours and waits for the first line that `pattern` matches. */
export function start(command, args, pattern) {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  const found = new Promise((resolve, reject) => {
    let told = "";
    child.stdout.on("data", (piece) => {
      told += piece;
      const match = told.match(pattern);
      if (match) resolve(match);
    });
    child.on("exit", (code) => reject(new Error(`${command} ended with ${code}: ${told}`)));
  });
  const ended = new Promise((resolve) => child.on("exit", resolve));
  return { found, ended, stop: () => child.kill("SIGINT"), pid: child.pid };
}

/** A browser of this system. What it asks of other machines is counted and refused. */
export async function browser() {
  const executablePath = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((p) => p && existsSync(p));
  if (!executablePath) throw new Error("no Chromium; tools/install.sh browser installs it");
  const args = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist", "--no-first-run", "--disable-background-networking"];
  return chromium.launch({ executablePath, args });
}

/** A page at an address of the viewer, when it is ready. */
export async function open(context, url) {
  const { page, notes } = await blank(context);
  await page.goto(url);
  await page.waitForFunction(() => window.__viewer?.ready || window.__viewer?.error, null, { timeout: 30000 });
  return { page, notes };
}

/** A page that notes requests to elsewhere, errors of scripts and violations of the content policy. */
export async function blank(context) {
  const page = await context.newPage();
  const notes = { elsewhere: [], errors: [] };
  page.on("request", (request) => {
    const { protocol, hostname } = new URL(request.url());
    if (!["data:", "blob:"].includes(protocol) && hostname !== "127.0.0.1") notes.elsewhere.push(request.url());
  });
  page.on("pageerror", (error) => notes.errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error") notes.errors.push(message.text());
  });
  if (process.env.BEAMRAIL_UI_DIST) {
    // While the page is worked on: its new build without a new binary.
    await page.route("**/view/assets/viewer.*", (route) => route.fulfill({ path: path.join(process.env.BEAMRAIL_UI_DIST, path.basename(new URL(route.request().url()).pathname)) }));
  }
  return { page, notes };
}

/** Waits until everything in sight is drawn. */
export async function settled(page) {
  await page.waitForTimeout(60);
  await page.waitForFunction(() => window.__viewer.app.complete(), null, { timeout: 60000, polling: 50 });
  await page.waitForTimeout(60);
}
