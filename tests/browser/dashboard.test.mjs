// The dashboard in a real browser: each page at three widths, and each action by its button, on a beamline that the
// demonstration made, with a worker that does what is asked for.
//
//     node tests/browser/dashboard.test.mjs [FOLDER FOR PICTURES]

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { BEAMRAIL, blank, browser, check, finish, start } from "./lib.mjs";

const pictures = process.argv[2];
if (pictures) mkdirSync(pictures, { recursive: true });
const folder = mkdtempSync(path.join(os.tmpdir(), "beamrail-dashboard-"));
const config = path.join(folder, "demo/beamrail.toml");
const TOKEN = "administer-0123456789abcdef0123456789";
const access = path.join(folder, "access");
const running = [];
const begin = (args, pattern) => {
  const made = start(BEAMRAIL, args, pattern);
  running.push(made);
  made.found.catch(() => undefined);
  return made;
};

// The story until the scan is done; then time does not pass, so that the clock is this machine's.
const demo = begin(["demo", "--dir", path.join(folder, "demo"), "--size", "tiny", "--listen", "127.0.0.1:0"], /live in the dashboard: \S+\/scans\/(\S+)/);
const chromium = await browser();
const everything = [];
try {
  const [, scan] = await demo.found;
  demo.stop();
  await demo.ended;
  writeFileSync(access, `administer cleo ${TOKEN}\n`, { mode: 0o600 });
  process.env.BEAMRAIL_WEB_ACCESS_FILE = access;
  const serve = (listen) => begin(["serve", "--config", config, "--listen", listen], /http:\/\/(\S+)\n/);
  let server = serve("127.0.0.1:0");
  const [, host] = await server.found;
  const context = await chromium.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: "dark" });
  const { page, notes } = await blank(context);
  everything.push(notes);
  page.on("dialog", (dialog) => void dialog.accept());
  page.setDefaultTimeout(15000);
  const go = (where) => page.goto(`http://${host}${where}`);
  const press = (name, within = page) => within.getByRole("button", { name, exact: true }).first().click();
  const main = page.locator("main");
  const says = async (text, timeout = 15000) => {
    try {
      await main.getByText(text).first().waitFor({ timeout });
    } catch {
      throw new Error(`${page.url()} never said ${text}: ${(await main.innerText()).slice(0, 600)}`);
    }
  };
  const again = `/again/${scan}`;

  await check("dashboard: a token opens it, a wrong one does not", async () => {
    await go("/storage");
    assert.match(page.url(), /\/login\?next=/);
    await page.getByLabel("Your token").fill("wrong");
    await press("Sign in");
    await says("This token is not known.");
    await page.getByLabel("Your token").fill(TOKEN);
    await press("Sign in");
    await page.waitForURL(`http://${host}/storage`);
  });

  await check("dashboard: every page, wide and narrow: its heading, nothing beyond the edge, all pictures there", async () => {
    const pages = {
      now: ["/", "Next to go"],
      scans: ["/scans", scan.split("/")[1]],
      scan: [`/scans/${scan}`, "Rotation centre"],
      runs: ["/runs", /alcf_recon_flow: /],
      again: [again, "Reconstruct again with…"],
      compare: [`/compare/${scan}`, "Reconstructions side by side"],
      storage: ["/storage", "What goes when"],
      sites: ["/sites", "polaris"],
      settings: ["/settings", "Configuration in force"],
      fault: ["/nothing", "there is nothing at this address"],
    };
    await go("/runs");
    const run = await page.locator("a[href^='/runs/0']").first().getAttribute("href");
    pages.run = [run, "Where the time went"];
    for (const [name, [where, text]] of Object.entries(pages)) {
      await go(where);
      await says(text);
      for (const width of [1440, 1024, 390]) {
        await page.setViewportSize({ width, height: 900 });
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.equal(wide, 0, `${name} at ${width} is ${wide} pixels too wide`);
        if (!pictures) continue;
        for (const colorScheme of ["dark", "light"]) {
          await page.emulateMedia({ colorScheme });
          await page.screenshot({ path: path.join(pictures, `${name}-${width}-${colorScheme}.png`), fullPage: true });
        }
        await page.emulateMedia({ colorScheme: "dark" });
      }
      const broken = await page.evaluate(() => [...document.images].filter((one) => one.complete && !one.naturalWidth).map((one) => one.src));
      assert.deepEqual(broken, [], name);
    }
    await page.setViewportSize({ width: 1280, height: 800 });
  });

  await check("dashboard: the scan's page shows what its raw file says", async () => {
    await go(`/scans/${scan}`);
    await page.getByText("What the raw file says").click();
    await says("/measurement/instrument/instrument_name");
  });

  await check("dashboard: hold and release", async () => {
    await go(`/scans/${scan}`);
    await page.getByLabel("Why").fill("for the paper");
    await press("Hold");
    await says("for the paper");
    await press("Release all holds");
    await says("Not held");
  });

  await check("dashboard: a strip of candidate centres is stopped, and given up when its page is left", async () => {
    await go(again);
    await press("Choose the centre by looking");
    await page.waitForURL(/\/looks\//);
    // It may have been quick; either way the page gets there by itself.
    const stop = page.getByRole("button", { name: "Stop" });
    if (await stop.count()) await stop.click({ timeout: 2000 }).catch(() => undefined);
    await page.waitForFunction(() => /it was stopped|Use \d/.test(document.querySelector("main").innerText), null, { timeout: 30000 });
    await go(again);
    await press("Choose the centre by looking");
    await page.waitForURL(/\/looks\//);
    // What a page sends on its way out is not seen from here, so the page itself is asked.
    const waits = await page.evaluate(() => {
      const send = navigator.sendBeacon.bind(navigator);
      navigator.sendBeacon = (url, data) => {
        sessionStorage.left = `${url}?${data}`;
        return send(url, data);
      };
      // Kept out of what is live: the look may end between here and leaving.
      const form = document.querySelector("form[data-leave]");
      if (form) document.body.append(form);
      return !!form;
    });
    await go("/");
    const left = await page.evaluate(() => sessionStorage.left);
    if (waits) assert.match(left ?? "nothing", /^\/looks\/\w+\/leave\?csrf=[0-9a-f]{64}/);
  });

  await check("dashboard: the centre is chosen by looking, one slice is tried, and the full run begins", async () => {
    await go(again);
    await press("Choose the centre by looking");
    await says(/Candidates are/);
    await page.locator("button.tile").nth(4).click();
    await says(/Candidates are/);
    await page.getByRole("link", { name: /^Use / }).nth(4).click();
    await page.waitForURL(/p\.center\.value=/);
    await press("Try one slice");
    await says("The middle slice, made in");
    const drawn = await page.waitForFunction(() => document.querySelector("img.evidence")?.naturalWidth, null, { timeout: 10000 });
    assert.ok((await drawn.jsonValue()) > 50);
    await page.getByRole("link", { name: "Take these parameters" }).click();
    await press("Reconstruct");
    await page.waitForURL(/\/runs\/[0-9a-f-]{36}$/);
    await says(/Waits for a worker/);
  });
  const asked = page.url();

  await check("dashboard: cancel and retry", async () => {
    await press("Cancel");
    await says(/Cancelled/);
    await press("Retry");
    await says(/Waits for a worker/);
  });

  begin(["worker", "--config", config], /./);

  await check("dashboard: the run goes on live to its end, without a reload", async () => {
    await page.evaluate(() => (window.kept = true));
    await says(/Done in \d/, 60000);
    assert.equal(await page.evaluate(() => window.kept), true);
    assert.equal(page.url(), asked);
  });

  await check("dashboard: both results beside each other, and in the viewer", async () => {
    await go(`/compare/${scan}`);
    await says("What differs in their recipes");
    await says("center.value");
    await page.getByRole("link", { name: "Both in the viewer, slice by slice" }).click();
    await page.waitForFunction(() => window.__viewer?.app?.sources.length === 2 && window.__viewer.app.panes.length === 2 && window.__viewer.app.panes.every((p) => p.drawn.tiles && p.drawn.ready === p.drawn.tiles), null, { timeout: 20000 });
  });

  await check("dashboard: a link to a volume is given out and opens without a session", async () => {
    await go(`/scans/${scan}`);
    await page.getByRole("link", { name: /^View at/ }).first().click();
    await page.waitForFunction(() => window.__viewer?.ready, null, { timeout: 20000 });
    const answer = page.waitForResponse((one) => one.url().endsWith("/share"));
    await page.getByRole("button", { name: "link for napari, Neuroglancer" }).click();
    const { path: link } = await (await answer).json();
    const read = await fetch(`http://${host}${link}.zattrs`);
    assert.equal(read.status, 200);
    assert.ok((await read.json()).multiscales);
  });

  await check("dashboard: a run that asks for the centre goes on with the answer", async () => {
    await go(`${again}?p.center.method=auto&p.center.value=auto&p.center.minimum_confidence=1`);
    await press("Reconstruct");
    await page.waitForURL(/\/runs\//);
    await page.locator("#answer").waitFor({ timeout: 40000 });
    await page.locator("#answer").fill("80");
    await press("Set centre and go on");
    await says(/Done in \d/, 60000);
  });

  await check("dashboard: sites are looked at when asked", async () => {
    await go("/sites");
    await page.getByRole("button", { name: "Look now" }).waitFor({ timeout: 20000 });
    await press("Look now");
    await says("polaris");
  });

  await check("dashboard: a rule is changed, a plan made, deletion switched on, copies deleted, and it is switched off", async () => {
    await go("/settings");
    await page.locator("#rule-alcf-scratch").fill("1 second");
    await press("Change", page.locator("form.rule", { has: page.locator("#rule-alcf-scratch") }));
    await page.waitForURL(/settings/);
    assert.equal(await page.locator("#rule-alcf-scratch").inputValue(), "1 second");
    await page.waitForTimeout(1200);
    await go("/storage");
    await press("Switch deletion on");
    await says("✓ Deletion is on");
    await press("Make a plan now");
    await page.getByRole("link", { name: /^Delete \d+ cop.* at alcf/ }).click();
    await press(/^Delete \d+ cop/);
    await page.waitForURL(/\/runs\//);
    await says(/Done in \d/, 40000);
    await go("/storage");
    await says(/deleted/);
    await press("Switch deletion off");
    await says("Deletion is switched off");
  });

  await check("dashboard: when the server goes a page says so, and goes on by itself when it is back", async () => {
    await go("/");
    await page.waitForTimeout(500);
    server.stop();
    await server.ended;
    await page.locator("#gone").waitFor({ state: "visible", timeout: 15000 });
    server = serve(host);
    await server.found;
    // Sessions end with the server: what is shown then is the way in.
    await page.waitForFunction(() => document.querySelector("#token") || document.querySelector("#gone")?.hidden, null, { timeout: 40000 });
  });

  await check("dashboard: signing out ends the session", async () => {
    await go("/login");
    await page.getByLabel("Your token").fill(TOKEN);
    await press("Sign in");
    await page.waitForURL(`http://${host}/`);
    await press("Sign out");
    await page.waitForURL(/\/login/);
    await go("/runs");
    assert.match(page.url(), /\/login/);
  });

  await check("dashboard: no request left this machine, no script failed, nothing broke the content policy", async () => {
    assert.deepEqual(everything.flatMap((one) => one.elsewhere), []);
    // Answers that were asked for: to a wrong token, to a server that went, for pictures that went with their copies.
    const expected = /status of 40[14]|ERR_CONNECTION|ERR_INCOMPLETE/;
    assert.deepEqual(everything.flatMap((one) => one.errors).filter((text) => !expected.test(text)), []);
  });
} catch (error) {
  await check("dashboard: the demonstration and the server begin", () => Promise.reject(error));
} finally {
  await chromium.close();
  for (const one of running.reverse()) one.stop();
  await Promise.all(running.map((one) => one.ended));
  rmSync(folder, { recursive: true, force: true });
  finish();
}
