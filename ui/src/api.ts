// What the server offers, and how it is asked: few requests at once, the newest first, none for what is no
// longer wanted.

/** Numbers along z, y, x. */
export type Vec3 = [number, number, number];
/** 0: z, 1: y, 2: x. */
export type Axis = 0 | 1 | 2;
export const AXES = ["z", "y", "x"] as const;

export interface Level {
  shape: Vec3;
  scale: Vec3;
  translation: Vec3;
  sampled: boolean;
}

export interface VolumeInfo {
  id: string;
  name: string;
  version: string;
  state: "finished" | "growing" | "unmanaged";
  dtype: string;
  unit: string | null;
  length_unit: "um" | "pixel";
  levels: Level[];
  rows: { total: number; done: number; ranges: [number, number][] };
  window: { min: number; max: number; start: number; end: number };
  histogram: { start: number; end: number; counts: number[]; zeros: number; not_finite: number };
  zarr: string | null;
  share: { allowed: boolean; reason: string | null };
}

export interface Entry {
  id: string;
  name: string;
}

/** The answer to a request for voxels. */
export interface Voxels {
  data: ArrayBuffer;
  /** How many of them are not there yet. */
  absent: number;
}

/** What the server said to a request that failed. */
export class ServerError extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

/** Browsers open six connections to a server; one is left for what has to be quick. */
const AT_ONCE = 5;

interface Job {
  url: string;
  signal: AbortSignal;
  resolve: (answer: Response) => void;
  reject: (reason: unknown) => void;
}

const waiting: Job[] = [];
let running = 0;
/** Told whether the server answers. */
let onReach: (reached: boolean) => void = () => undefined;

export function whenReachable(listener: (reached: boolean) => void): void {
  onReach = listener;
}

async function ask(url: string, init: RequestInit): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(url, init);
  } catch (reason) {
    if (!init.signal?.aborted) onReach(false);
    throw reason;
  }
  onReach(true);
  if (!answer.ok) {
    const text = await answer.text();
    let message = text;
    try {
      message = (JSON.parse(text) as { error?: string }).error ?? text;
    } catch {
      // Not JSON: a proxy's answer, for one. The text is all there is.
    }
    throw new ServerError(answer.status, message || `the server answered ${answer.status}`);
  }
  return answer;
}

function next(): void {
  while (running < AT_ONCE) {
    // The newest first: it is what is being looked at.
    const job = waiting.pop();
    if (!job) return;
    if (job.signal.aborted) {
      job.reject(job.signal.reason);
      continue;
    }
    running += 1;
    ask(job.url, { signal: job.signal })
      .then(job.resolve, job.reject)
      .finally(() => {
        running -= 1;
        next();
      });
  }
}

async function voxels(url: string, signal: AbortSignal): Promise<Voxels | null> {
  const answer = await new Promise<Response>((resolve, reject) => {
    waiting.push({ url, signal, resolve, reject });
    next();
  });
  if (answer.status === 204) return null;
  return { data: await answer.arrayBuffer(), absent: Number(answer.headers.get("beamrail-absent") ?? 0) };
}

const base = (id: string): string => `/api/volumes/${encodeURIComponent(id)}`;

export async function info(id: string): Promise<VolumeInfo> {
  return (await ask(base(id), {})).json() as Promise<VolumeInfo>;
}

export async function list(): Promise<Entry[]> {
  return (await ask("/api/volumes", {})).json() as Promise<Entry[]>;
}

/** A rectangle of a slice: first column and line, columns and lines. */
export interface Rect {
  x0: number;
  y0: number;
  w: number;
  h: number;
}

/** Values of a tile, line by line; null if none of it is there yet. */
export async function slice(
  volume: VolumeInfo,
  axis: Axis,
  index: number,
  level: number,
  rect: Rect,
  signal: AbortSignal,
): Promise<{ values: Float32Array<ArrayBuffer>; absent: number } | null> {
  const { x0, y0, w, h } = rect;
  const where = `axis=${AXES[axis]}&index=${index}&level=${level}&x0=${x0}&y0=${y0}&w=${w}&h=${h}`;
  const answer = await voxels(`${base(volume.id)}/slice?${where}&v=${volume.version}`, signal);
  return answer && { values: new Float32Array(answer.data), absent: answer.absent };
}

/** One value, past the queue: somebody points at it. */
export async function value(volume: VolumeInfo, voxel: Vec3, signal: AbortSignal): Promise<number | null> {
  const [z, y, x] = voxel;
  const where = `axis=z&index=${z}&level=0&x0=${x}&y0=${y}&w=1&h=1`;
  const answer = await ask(`${base(volume.id)}/slice?${where}&v=${volume.version}`, { signal });
  return answer.status === 204 ? null : (new Float32Array(await answer.arrayBuffer())[0] ?? null);
}

/** A box of a level: from and to (excluded) along z, y, x. */
export interface Box {
  from: Vec3;
  to: Vec3;
}

/** Voxels of a box as bytes, lo to hi as 0 to 255. */
export async function brick(
  volume: VolumeInfo,
  level: number,
  { from, to }: Box,
  lo: number,
  hi: number,
  signal: AbortSignal,
): Promise<Voxels | null> {
  const where = AXES.map((a, i) => `${a}0=${from[i]}&${a}1=${to[i]}`).join("&");
  return voxels(`${base(volume.id)}/brick?level=${level}&${where}&lo=${lo}&hi=${hi}&v=${volume.version}`, signal);
}

/** Makes a link to the OME-Zarr for others. */
export async function share(id: string, hours: number): Promise<{ path: string; expires: number }> {
  const token = document.querySelector<HTMLMetaElement>('meta[name="csrf-token"]')?.content ?? "";
  const answer = await ask(`${base(id)}/share`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-csrf-token": token },
    body: JSON.stringify({ hours }),
  });
  return answer.json() as Promise<{ path: string; expires: number }>;
}
