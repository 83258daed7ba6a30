// Measures the viewer on a volume: the first slice, moving through slices, twenty viewers at once, memory.
// tools/bench_viewer.sh makes the volume and calls this: bench_viewer.mjs RESULTS_FOLDER.

import http from "node:http";
import { readFileSync, readdirSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { BEAMRAIL, blank, browser, settled, start } from "../tests/browser/lib.mjs";

const TILE = 512;
const folder = process.argv[2];
const zarr = path.join(folder, readdirSync(folder).find((name) => name.endsWith(".zarr")));
/** A server that has read nothing yet. */
const serve = () => start(BEAMRAIL, ["view", zarr], /http:\/\/(\S+)\/view\/(\S+)/);
const server = serve();
const [, host, id] = await server.found;
const agent = new http.Agent({ keepAlive: true, maxSockets: 200 });

function get(url) {
  return new Promise((resolve, reject) => {
    http.get(`http://${host}${url}`, { agent }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("end", () => (answer.statusCode === 200 ? resolve(Buffer.concat(parts)) : reject(new Error(`${url}: ${answer.statusCode} ${Buffer.concat(parts)}`))));
    }).on("error", reject);
  });
}

const memory = (field) => Number(readFileSync(`/proc/${server.pid}/status`, "utf8").match(new RegExp(`${field}:\\s+(\\d+)`))[1]) / 1024;
/** CPU seconds of the server so far: they do not depend on what else the machine does. */
const cpu = () => readFileSync(`/proc/${server.pid}/stat`, "utf8").split(") ")[1].split(" ").slice(11, 13).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
const asked = performance.now();
const info = JSON.parse(await get(`/api/volumes/${id}`));

/** All tiles of a screen of 1280 × 800 in the middle of a slice. */
function screen(axis, index, level, offset = 0) {
  const [z, y, x] = info.levels[level].shape;
  const [nu, nv] = axis === "z" ? [x, y] : axis === "y" ? [x, z] : [y, z];
  const range = (n, size) => {
    const from = Math.max(Math.floor((n - size) / 2) + offset, 0);
    return [Math.floor(from / TILE), Math.ceil(Math.min(from + size, n) / TILE)];
  };
  const [[u0, u1], [v0, v1]] = [range(nu, 1280), range(nv, 800)];
  const tiles = [];
  for (let v = v0; v < v1; v++) {
    for (let u = u0; u < u1; u++) {
      const [x0, y0] = [u * TILE, v * TILE];
      tiles.push(get(`/api/volumes/${id}/slice?axis=${axis}&index=${index}&level=${level}&x0=${x0}&y0=${y0}&w=${Math.min(TILE, nu - x0)}&h=${Math.min(TILE, nv - y0)}`));
    }
  }
  return Promise.all(tiles);
}

async function through(axis, level, count) {
  const n = info.levels[level].shape["zyx".indexOf(axis)];
  const first = Math.floor((n - count) / 2);
  for (let i = 0; i < count; i++) await screen(axis, first + i, level);
  const [began, spent] = [performance.now(), cpu()];
  let bytes = 0;
  for (let i = 0; i < count; i++) for (const tile of await screen(axis, first + i, level)) bytes += tile.length;
  const seconds = (performance.now() - began) / 1000;
  return `${(count / seconds).toFixed(1)} slices/s, ${(bytes / seconds / 1e6).toFixed(0)} MB/s, ${((1000 * (cpu() - spent)) / count).toFixed(1)} ms of CPU a slice`;
}

console.log(`beamrail view on ${info.levels[0].shape.join(" x ")}, ${info.levels.length} levels; server started, ${memory("VmRSS").toFixed(0)} MB`);

await screen("z", Math.floor(info.levels[2].shape[0] / 2), 2);
console.log(`first slice by the server alone: ${((performance.now() - asked) / 1000).toFixed(3)} s`);

const chromium = await browser();
/** Seconds from the address to the picture with all its tiles, in a browser that has never been there. */
async function first(host, id) {
  const context = await chromium.newContext({ viewport: { width: 1280, height: 800 } });
  const { page } = await blank(context);
  const began = performance.now();
  await page.goto(`http://${host}/view/${id}`, { waitUntil: "commit" });
  await page.waitForFunction(() => window.__viewer?.app?.panes.length && window.__viewer.app.panes.every((p) => p.drawn.tiles > 0 && p.drawn.ready === p.drawn.tiles), null, { polling: 10 });
  return { page, context, seconds: (performance.now() - began) / 1000 };
}
const firsts = [];
for (let k = 0; k < 5; k++) {
  const fresh = serve();
  const [, host, id] = await fresh.found;
  const { context, seconds } = await first(host, id);
  firsts.push(seconds);
  await context.close();
  fresh.stop();
  await fresh.ended;
}
const { page, seconds: known } = await first(host, id);
const shownLevel = await page.evaluate(() => window.__viewer.app.panes[0].drawn.level);
console.log(`first slice in the browser, from the address to all tiles, level ${shownLevel}: ${firsts.map((s) => s.toFixed(2)).join(", ")} s from servers just started, ${known.toFixed(2)} s from one that has read it`);

for (const level of [shownLevel, 0]) {
  await page.evaluate((zoom) => window.__viewer.app.change({ zoom }), level ? 2560 * info.levels[0].scale[0] / 740 : info.levels[0].scale[0]);
  await settled(page);
  const moved = await page.evaluate(async () => {
    const { app } = window.__viewer;
    const done = () => app.panes[0].drawn.index === wanted && app.panes[0].drawn.ready === app.panes[0].drawn.tiles;
    let wanted = app.panes[0].drawn.index;
    const go = async (count, by) => {
      const began = performance.now();
      for (let i = 0; i < count; i++) {
        wanted += by;
        app.step(app.panes[0], by);
        while (!done()) await new Promise((next) => requestAnimationFrame(next));
      }
      return count / ((performance.now() - began) / 1000);
    };
    const cold = await go(20, 1);
    const warm = await go(20, -1);
    return { cold, warm, level: app.panes[0].drawn.level, tiles: app.panes[0].drawn.tiles };
  });
  console.log(`moving in the browser, level ${moved.level}, ${moved.tiles} tiles in sight: ${moved.cold.toFixed(1)} slices/s when new, ${moved.warm.toFixed(1)} back again (kept by the page)`);
}
let began = performance.now();
await page.keyboard.press("5");
await page.waitForFunction(() => window.__viewer.app.sources[0].bricks.shown, null, { polling: 10 });
console.log(`first 3-D picture: ${((performance.now() - began) / 1000).toFixed(2)} s, level ${await page.evaluate(() => window.__viewer.app.sources[0].bricks.shown.level)} (drawn by the processor)`);
await page.keyboard.press("1");
await page.close();
await chromium.close();

for (const [axis, level] of [["z", 2], ["z", 0], ["y", 1], ["x", 1], ["y", 0]]) {
  console.log(`server alone, screens of 1280 x 800, axis ${axis}, level ${level}, warm: ${await through(axis, level, 24)}`);
}

// Twenty viewers, each in slices of its own.
const times = [];
const spent = cpu();
began = performance.now();
await Promise.all(
  Array.from({ length: 20 }, async (_, k) => {
    for (let i = 0; i < 15; i++) {
      const [axis, level] = k % 4 === 3 ? ["y", 1] : ["z", k % 2 ? 2 : 0];
      const n = info.levels[level].shape["zyx".indexOf(axis)];
      const sent = performance.now();
      await screen(axis, (k * 11 + i) % n, level, k * 8);
      times.push(performance.now() - sent);
    }
  }),
);
const seconds = (performance.now() - began) / 1000;
times.sort((a, b) => a - b);
console.log(`20 viewers at once: ${(times.length / seconds).toFixed(1)} slices/s in all, median ${times[times.length / 2].toFixed(0)} ms, 95 % within ${times[Math.floor(times.length * 0.95)].toFixed(0)} ms, ${((1000 * (cpu() - spent)) / times.length).toFixed(1)} ms of CPU a slice`);
console.log(`load average ${readFileSync("/proc/loadavg", "utf8").split(" ").slice(0, 2).join(", ")} on ${os.cpus().length} cores`);
console.log(`server memory at its peak: ${memory("VmHWM").toFixed(0)} MB (cache 512 MB, answers up to 256 MB)`);
agent.destroy();
server.stop();
