// The viewer in a real browser, on volumes that the real binary made, against what the TIFF files hold.
//
//     node tests/browser/viewer.test.mjs [FOLDER FOR PICTURES]
//
// The truth is read here from the TIFFs' bytes, with nothing of ours.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { spawnSync } from "node:child_process";
import os from "node:os";
import path from "node:path";
import { BEAMRAIL, browser, check, finish, open, settled, start } from "./lib.mjs";

const pictures = process.argv[2];
const made = process.env.BEAMRAIL_VOLUMES ?? mkdtempSync(path.join(os.tmpdir(), "beamrail-viewer-"));

function beamrail(...args) {
  const run = spawnSync(BEAMRAIL, [...args, "--progress", "none"], { encoding: "utf8" });
  assert.equal(run.status, 0, `${args.join(" ")}: ${run.stderr}`);
}

/** Voxels of an uncompressed little-endian float32 TIFF. */
function readTiff(file) {
  const bytes = readFileSync(file);
  assert.equal(bytes.toString("latin1", 0, 2), "II");
  const directory = bytes.readUInt32LE(4);
  const tags = {};
  for (let i = 0; i < bytes.readUInt16LE(directory); i++) {
    const at = directory + 2 + 12 * i;
    tags[bytes.readUInt16LE(at)] = bytes.readUInt16LE(at + 2) === 3 ? bytes.readUInt16LE(at + 8) : bytes.readUInt32LE(at + 8);
  }
  const [width, height, offset] = [tags[256], tags[257], tags[273]];
  const values = new Float32Array(bytes.buffer.slice(bytes.byteOffset + offset, bytes.byteOffset + offset + 4 * width * height));
  return { width, height, values };
}

/** The volume's slices, read when asked for. */
function truth(folder) {
  const files = readdirSync(folder).filter((f) => f.endsWith(".tiff")).sort();
  const slices = new Map();
  const slice = (z) => slices.get(z) ?? slices.set(z, readTiff(path.join(folder, files[z]))).get(z);
  return { rows: files.length, at: (z, y, x) => slice(z).values[y * slice(z).width + x] };
}

if (!process.env.BEAMRAIL_VOLUMES) {
  // More than a tile wide, so that tiles have neighbours; enough rows for 3-D.
  beamrail("simulate", path.join(made, "foam.h5"), "--width", "600", "--rows", "128", "--angles", "361", "--seed", "3");
  beamrail("reconstruct", path.join(made, "foam.h5"), "-o", path.join(made, "one"), "--ome-zarr", "0.4");
  beamrail("reconstruct", path.join(made, "foam.h5"), "-o", path.join(made, "two"), "--ome-zarr", "0.5", "--recipe", "als832");
}
const [one, two] = [path.join(made, "one"), path.join(made, "two")];
const named = (folder) => path.join(folder, readdirSync(folder).find((name) => name.endsWith(".zarr")));
const server = start(BEAMRAIL, ["view", named(one), named(two)], /http:\/\/(\S+)\/view\/(\S+)[\s\S]*?http:\/\/\S+\/view\/(\S+)\n/);
const chromium = await browser();
const context = await chromium.newContext({ viewport: { width: 1280, height: 800 }, acceptDownloads: true, colorScheme: "dark" });
const everything = [];
try {
  const [, host, idOne, idTwo] = await server.found;
  const address = (id, fragment = "") => `http://${host}/view/${id}${fragment}`;
  const volumes = [[idOne, one, "0.4"], [idTwo, two, "0.5"]];

  for (const [id, folder, version] of volumes) {
    const real = truth(path.join(folder, readdirSync(folder).find((name) => /^rec[^.]*$/.test(name))));
    const { page, notes } = await open(context, address(id));
    everything.push(notes);
    await settled(page);
    const volume = await page.evaluate(() => window.__viewer.volume);
    const [scale, shape] = [volume.levels[0].scale[0], volume.levels[0].shape];

    await check(`viewer on OME-Zarr ${version}: values and greys of slices along z, y and x are the data's`, async () => {
      for (const [axis, key] of [[0, "1"], [1, "2"], [2, "3"]]) {
        await page.locator("main canvas").first().focus();
        await page.keyboard.press(key);
        // A voxel of level 0 is two pixels wide.
        await page.evaluate((zoom) => window.__viewer.app.change({ zoom }), scale / 2);
        await settled(page);
        const shown = await page.evaluate(() => {
          const { app } = window.__viewer;
          const { area } = app.panes[0];
          const found = [];
          for (let i = 0; i < 400; i++) {
            const [x, y] = [area.x + 20 + ((i * 137) % (area.w - 40)), area.y + 60 + ((i * 89) % (area.h - 120))];
            // What is drawn in a pixel is what lies under its middle.
            const at = app.shownAt(0, Math.floor(x) + 0.5, Math.floor(y) + 0.5);
            if (at && at.value !== null) found.push({ ...at, grey: app.greyAt(x, y) });
          }
          return { found, view: app.view };
        });
        assert.ok(shown.found.length > 60, `only ${shown.found.length} points in the slice`);
        for (const { level, index, column, line, value, grey } of shown.found) {
          assert.equal(level, 0);
          const [z, y, x] = axis === 0 ? [index, line, column] : axis === 1 ? [line, index, column] : [line, column, index];
          assert.equal(value, real.at(z, y, x), `value at ${[z, y, x]}`);
          const { lo, hi } = shown.view;
          const expected = Math.min(Math.max((value - lo) / (hi - lo), 0), 1) * 255;
          assert.ok(grey.slice(0, 3).every((g) => Math.abs(g - expected) <= 1), `grey ${grey} at ${[z, y, x]}, expected ${expected}`);
        }
      }
    });

    await check(`viewer on OME-Zarr ${version}: the value under the pointer is that of level 0, at any zoom`, async () => {
      await page.keyboard.press("1");
      for (const zoom of [scale / 2, scale * 3]) {
        await page.evaluate((zoom) => window.__viewer.app.change({ zoom }), zoom);
        await settled(page);
        await page.mouse.move(400, 300);
        await page.mouse.move(411, 307);
        await page.waitForFunction(() => /^-?[\d.e+-]+ 1\/cm/.test(document.querySelector("#readout").textContent), null, { timeout: 5000 });
        await page.waitForTimeout(300);
        const { value, voxel } = await page.evaluate(() => ({ ...document.querySelector("#readout").dataset }));
        const [z, y, x] = voxel.split(",").map(Number);
        assert.equal(Number(value), real.at(z, y, x), `at ${voxel}`);
        assert.match(await page.locator("#readout").innerText(), new RegExp(`z ${z}, y ${y}, x ${x} · .* µm`));
      }
    });

    await check(`viewer on OME-Zarr ${version}: other tiles at another zoom, and scrolling changes the slice`, async () => {
      const state = () => page.evaluate(() => ({ level: window.__viewer.app.panes[0].drawn.level, index: window.__viewer.app.panes[0].drawn.index, at: window.__viewer.app.view.at[0], tiles: window.__viewer.app.panes[0].drawn.tiles }));
      await page.evaluate((zoom) => window.__viewer.app.change({ zoom }), scale / 2);
      await settled(page);
      const near = await state();
      await page.mouse.move(500, 400);
      await page.keyboard.down("Control");
      for (let i = 0; i < 6; i++) await page.mouse.wheel(0, 200);
      await page.keyboard.up("Control");
      await settled(page);
      const far = await state();
      assert.deepEqual([near.level, far.level > 0], [0, true]);
      assert.ok(near.tiles > far.tiles || near.tiles > 1, JSON.stringify([near, far]));
      await page.mouse.wheel(0, 100);
      await settled(page);
      const next = await state();
      assert.equal(next.index, far.index + 1);
    });

    await check(`viewer on OME-Zarr ${version}: the ruler is right`, async () => {
      await page.evaluate((zoom) => window.__viewer.app.change({ zoom }), scale);
      await settled(page);
      await page.keyboard.press("d");
      await page.mouse.move(300, 400);
      await page.mouse.down();
      await page.mouse.move(420, 340, { steps: 4 });
      await page.mouse.up();
      const marks = await page.evaluate(() => window.__viewer.app.view.marks);
      assert.equal(marks.length, 1);
      const [a, b] = marks[0].points;
      const length = Math.hypot(...a.map((n, i) => n - b[i]));
      const expected = Math.hypot(120, 60) * scale;
      // Mouse positions are whole pixels, which are voxels at this zoom.
      assert.ok(Math.abs(length - expected) < 1e-6 * expected, `${length}, expected ${expected}`);
      await page.keyboard.press("a");
      for (const [x, y] of [[300, 500], [400, 500], [400, 420]]) await page.mouse.click(x, y);
      const angle = (await page.evaluate(() => window.__viewer.app.view.marks)).at(-1);
      assert.equal(angle.points.length, 3);
      const arms = [0, 2].map((i) => angle.points[i].map((n, k) => n - angle.points[1][k]));
      assert.ok(Math.abs(arms[0].reduce((sum, n, k) => sum + n * arms[1][k], 0)) < 1e-6, "a right angle");
      await page.keyboard.press("Escape");
    });

    await check(`viewer on OME-Zarr ${version}: a profile holds the data along its line`, async () => {
      await page.keyboard.press("p");
      await page.mouse.move(350, 380);
      await page.mouse.down();
      await page.mouse.move(450, 380, { steps: 3 });
      await page.mouse.up();
      await page.locator("canvas.profile").waitFor({ state: "visible" });
      const download = page.waitForEvent("download");
      await page.getByRole("button", { name: "save as CSV" }).click();
      const table = readFileSync(await (await download).path(), "utf8").trim().split("\n").slice(1).map((line) => line.split(",").map(Number));
      const mark = (await page.evaluate(() => window.__viewer.app.view.marks)).find((m) => m.tool === "profile");
      assert.equal(table.length, 101);
      const voxel = mark.points[0].map((p, i) => (p - volume.levels[0].translation[i]) / scale);
      const [z, x0] = [Math.round(voxel[0]), voxel[2]];
      table.forEach(([s, value], i) => {
        assert.ok(Math.abs(s - i * scale) < 1e-6 * scale * 100);
        // Between voxels the profile is bilinear.
        const [x, y] = [x0 + i, voxel[1]];
        const [cx, cy] = [Math.floor(x), Math.floor(y)];
        const mix = (a, b, f) => a * (1 - f) + b * f;
        const row = (yy) => mix(real.at(z, yy, cx), real.at(z, yy, cx + 1), x - cx);
        const expected = mix(row(cy), row(cy + 1), y - cy);
        assert.ok(Math.abs(value - expected) <= 1e-5 * Math.max(Math.abs(expected), 1), `point ${i}: ${value}, expected ${expected}`);
      });
      await page.keyboard.press("v");
      if (pictures && version === "0.4") await page.screenshot({ path: path.join(pictures, "viewer-slice.png") });
      await page.getByRole("button", { name: "clear" }).click();
    });

    await check(`viewer on OME-Zarr ${version}: the volume in 3-D has structure, and a crop brings a finer level`, async () => {
      const began = Date.now();
      await page.keyboard.press("5");
      await settled(page);
      const greys = () => page.evaluate(() => {
        const { app } = window.__viewer;
        const { area } = app.panes[0];
        const seen = new Set();
        for (let y = area.y + 4; y < area.y + area.h; y += 7) for (let x = area.x + 4; x < area.x + area.w; x += 7) seen.add(app.greyAt(x, y).slice(0, 3).join());
        return { colours: seen.size, level: app.sources[0].bricks.shown.level, took: app.marcher.took };
      });
      const whole = await greys();
      assert.ok(whole.colours > 200, `${whole.colours} colours after ${Date.now() - began} ms`);
      if (pictures && version === "0.4") await page.screenshot({ path: path.join(pictures, "viewer-3d.png") });
      await page.evaluate(() => window.__viewer.app.change({ crop: [0.2, 0.8, 0.3, 0.6, 0.3, 0.6] }));
      await settled(page);
      const cropped = await greys();
      assert.ok(cropped.level < whole.level, `level ${cropped.level}, before ${whole.level}`);
      assert.equal(cropped.level, 0);
      assert.ok(cropped.colours > 100, `${cropped.colours} colours`);
      // The picture turns with the hand.
      const before = await page.evaluate(() => window.__viewer.app.view.yaw);
      await page.mouse.move(400, 400);
      await page.mouse.down();
      await page.mouse.move(480, 420, { steps: 4 });
      await page.mouse.up();
      assert.notEqual(await page.evaluate(() => window.__viewer.app.view.yaw), before);
      await page.getByRole("button", { name: "whole volume" }).click();
    });

    await check(`viewer on OME-Zarr ${version}: a double click is one point in three slices`, async () => {
      await page.keyboard.press("4");
      await settled(page);
      await page.mouse.dblclick(220, 180);
      await settled(page);
      const { at, expected } = await page.evaluate(() => {
        const { app } = window.__viewer;
        return { at: app.view.at, expected: app.panes[0].toPosition(220.5, 180.5, app.view) };
      });
      assert.deepEqual(at, expected);
      const indices = await page.evaluate(() => window.__viewer.app.panes.filter((p) => p.axis !== null).map((p) => [p.axis, p.drawn.level, p.drawn.index]));
      for (const [axis, level, index] of indices) {
        const l = volume.levels[level];
        assert.equal(index, Math.min(Math.max(Math.round((at[axis] - l.translation[axis]) / l.scale[axis]), 0), l.shape[axis] - 1));
      }
      if (pictures && version === "0.4") {
        await page.evaluate(() => window.__viewer.app.reset());
        await page.evaluate(() => window.__viewer.app.change({ crop: [0, 1, 0.5, 1, 0, 1], yaw: 0.6, pitch: 0.5, marks: [] }));
        await settled(page);
        await page.mouse.move(300, 190);
        await page.waitForTimeout(400);
        await page.screenshot({ path: path.join(pictures, "viewer.png") });
      }
    });

    await check(`viewer on OME-Zarr ${version}: the address holds the view`, async () => {
      await page.waitForTimeout(500);
      const view = await page.evaluate(() => window.__viewer.app.view);
      const again = await open(context, page.url());
      everything.push(again.notes);
      await settled(again.page);
      const same = await again.page.evaluate(() => window.__viewer.app.view);
      const close = (a, b) => (typeof a === "number" ? Math.abs(a - b) <= 1e-6 * Math.max(Math.abs(a), 1) : a && typeof a === "object" ? Object.keys(a).length === Object.keys(b).length && Object.keys(a).every((key) => close(a[key], b[key])) : a === b);
      for (const [key, value] of Object.entries(view)) assert.ok(close(value, same[key]), `${key}: ${value}, ${same[key]}`);
      await again.page.close();
    });
    assert.equal(real.rows, shape[0]);
    await page.close();
  }

  await check("viewer: two reconstructions side by side move as one", async () => {
    const { page, notes } = await open(context, address(idOne));
    everything.push(notes);
    await page.getByLabel("Compare with").selectOption(idTwo);
    await page.waitForFunction(() => window.__viewer.app.panes.length === 2);
    await settled(page);
    const before = await page.evaluate(() => window.__viewer.app.panes.map((p) => p.drawn.index));
    await page.mouse.move(200, 400);
    await page.mouse.wheel(0, 100);
    await page.mouse.down();
    await page.mouse.move(260, 430, { steps: 3 });
    await page.mouse.up();
    await settled(page);
    const after = await page.evaluate(() => {
      const { app } = window.__viewer;
      const [a, b] = app.panes;
      return { index: [a.drawn.index, b.drawn.index], same: JSON.stringify(a.toPosition(a.area.x + 50, a.area.y + 60, app.view)) === JSON.stringify(b.toPosition(b.area.x + 50, b.area.y + 60, app.view)) };
    });
    assert.deepEqual(after, { index: before.map((n) => n + 1), same: true });
    // They are two volumes: recipes differ, and so do their values.
    const values = await page.evaluate(() => {
      const { app } = window.__viewer;
      return app.panes.map((p, i) => app.shownAt(i, p.area.x + p.area.w / 2 - 40, p.area.y + p.area.h / 2).value);
    });
    assert.ok(values.every((v) => v !== null) && values[0] !== values[1], String(values));
    await page.evaluate(() => window.__viewer.app.reset());
    await settled(page);
    if (pictures) await page.screenshot({ path: path.join(pictures, "viewer-compare.png") });
    await page.close();
  });

  await check("viewer: a volume is visible while it is reconstructed, and grows by itself", async () => {
    const scan = path.join(made, "grow.h5");
    const output = path.join(made, "grow");
    beamrail("simulate", scan, "--width", "300", "--rows", "96", "--angles", "181", "--seed", "4");
    beamrail("reconstruct", scan, "-o", output, "--plan");
    beamrail("reconstruct", scan, "-o", output, "--part", "1/3");
    const growing = start(BEAMRAIL, ["view", path.join(output, "recgrow.zarr")], /http:\/\/(\S+\/view\/\S+)/);
    try {
      const { page, notes } = await open(context, `http://${(await growing.found)[1]}`);
      everything.push(notes);
      await settled(page);
      assert.match(await page.locator(".growth").innerText(), /being reconstructed: 32 of 96 rows are there/);
      const grey = () => page.evaluate(() => {
        const { app } = window.__viewer;
        const { area, drawn } = app.panes[0];
        const colours = new Set();
        for (let i = 0; i < 400; i++) colours.add(app.greyAt(area.x + area.w / 2 - 100 + (i % 20) * 10, area.y + area.h / 2 - 100 + Math.floor(i / 20) * 10).join());
        return { colours: colours.size, index: drawn.index };
      });
      // It opens where there is something to see.
      const first = await grey();
      assert.ok(first.index < 32 && first.colours > 30, JSON.stringify(first));
      await page.locator("main canvas").first().focus();
      await page.keyboard.press("End");
      await page.waitForTimeout(600);
      const before = await grey();
      assert.ok(before.index === 95 && before.colours <= 3, JSON.stringify(before));
      for (const part of ["2/3", "3/3"]) beamrail("reconstruct", scan, "-o", output, "--part", part);
      await page.waitForFunction(() => window.__viewer.app.sources[0].info.rows.done === 96, null, { timeout: 15000 });
      await settled(page);
      const after = await grey();
      assert.ok(after.colours > 30, JSON.stringify(after));
      beamrail("reconstruct", scan, "-o", output, "--finish");
      await page.waitForFunction(() => window.__viewer.app.sources[0].info.state === "finished", null, { timeout: 15000 });
      await settled(page);
      const real = truth(path.join(output, "recgrow"));
      const shown = await page.evaluate(() => window.__viewer.app.shownAt(0, 400.5, 400.5));
      assert.equal(shown.level, 0);
      assert.equal(shown.value, real.at(95, shown.line, shown.column));
      await page.close();
    } finally {
      growing.stop();
    }
  });

  await check("viewer: window, keys, picture, help and folding", async () => {
    const { page, notes } = await open(context, address(idOne));
    everything.push(notes);
    await settled(page);
    const view = () => page.evaluate(() => window.__viewer.app.view);
    const before = await view();
    await page.mouse.move(500, 400);
    await page.mouse.down({ button: "right" });
    await page.mouse.move(560, 420, { steps: 3 });
    await page.mouse.up({ button: "right" });
    const wider = await view();
    assert.ok(wider.hi - wider.lo > before.hi - before.lo);
    await page.getByRole("button", { name: "auto" }).click();
    assert.deepEqual([(await view()).lo, (await view()).hi], [before.lo, before.hi]);
    await page.getByLabel("Value shown white").fill("17.5");
    await page.keyboard.press("Enter");
    assert.equal((await view()).hi, 17.5);
    await page.locator("main canvas").first().focus();
    await page.keyboard.press("i");
    assert.equal((await view()).invert, true);
    const download = page.waitForEvent("download");
    await page.keyboard.press("s");
    const png = readFileSync(await (await download).path());
    assert.equal(png.toString("latin1", 1, 4), "PNG");
    assert.ok(png.readUInt32BE(16) > 900 && png.length > 20000, `${png.readUInt32BE(16)} wide, ${png.length} bytes`);
    await page.keyboard.press("?");
    await page.getByText("Keys and mouse").waitFor({ state: "visible" });
    await page.keyboard.press("Escape");
    await page.keyboard.press("h");
    await page.locator("aside.panel").waitFor({ state: "hidden" });
    await page.close();
  });

  await check("viewer: on a phone, two fingers zoom and one moves", async () => {
    const phone = await chromium.newContext({ viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 });
    const { page, notes } = await open(phone, address(idOne));
    everything.push(notes);
    await settled(page);
    const view = () => page.evaluate(() => window.__viewer.app.view);
    const before = await view();
    const touch = await phone.newCDPSession(page);
    const fingers = (type, ...points) => touch.send("Input.dispatchTouchEvent", { type, touchPoints: points.map(([x, y], id) => ({ x, y, id })) });
    await fingers("touchStart", [150, 300], [250, 300]);
    await fingers("touchMove", [130, 300], [270, 300]);
    await fingers("touchMove", [100, 300], [300, 300]);
    await fingers("touchEnd");
    const zoomed = await view();
    assert.ok(zoomed.zoom < before.zoom * 0.6, `${before.zoom} to ${zoomed.zoom}`);
    await fingers("touchStart", [200, 300]);
    await fingers("touchMove", [160, 340]);
    await fingers("touchEnd");
    assert.notDeepEqual((await view()).mid, zoomed.mid);
    await settled(page);
    if (pictures) await page.screenshot({ path: path.join(pictures, "viewer-phone.png") });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    await phone.close();
  });

  await check("viewer: when the server goes the page says so, and goes on when it is back", async () => {
    const first = start(BEAMRAIL, ["view", named(one)], /http:\/\/127.0.0.1:(\d+)\/view\/(\S+)/);
    const [, port, id] = await first.found;
    const { page } = await open(context, `http://127.0.0.1:${port}/view/${id}`);
    await settled(page);
    first.stop();
    await first.ended;
    await page.locator("main canvas").first().focus();
    await page.keyboard.press("End");
    await page.getByRole("alert").filter({ hasText: "the server does not answer" }).waitFor({ state: "visible" });
    const again = start(BEAMRAIL, ["view", named(one), "--port", port], /http:/);
    try {
      await again.found;
      await page.locator(".banner").waitFor({ state: "hidden" });
      await settled(page);
      assert.equal(await page.evaluate(() => window.__viewer.app.panes[0].drawn.index), truth(path.join(one, "recfoam")).rows - 1);
    } finally {
      again.stop();
    }
    await page.close();
  });

  await check("viewer: a volume that is not there is named, and what to do", async () => {
    const { page } = await open(context, address("nothing"));
    assert.match(await page.locator(".message").innerText(), /there is no volume nothing/);
    await page.close();
  });

  await check("viewer: no request left this machine, no script failed, nothing broke the content policy", () => {
    const left = everything.flatMap((n) => n.elsewhere);
    const errors = everything.flatMap((n) => n.errors);
    assert.equal(JSON.stringify([left, errors]), "[[],[]]");
  });
} finally {
  await chromium.close();
  server.stop();
  if (!process.env.BEAMRAIL_VOLUMES) rmSync(made, { recursive: true });
}
finish();
