// The page of one volume: /view/{id}#view.

import "./style.css";
import { type VolumeInfo, ServerError, info } from "./api";
import { App } from "./app";

/** For tests and for the curious: the state of the viewer. */
interface Probe {
  ready: boolean;
  error: string | null;
  app: App | null;
  volume: VolumeInfo | null;
}

declare global {
  interface Window {
    __viewer: Probe;
  }
}

const probe: Probe = { ready: false, error: null, app: null, volume: null };
window.__viewer = probe;

function message(title: string, text: string): void {
  const box = document.createElement("div");
  box.className = "message";
  const [head, body] = [document.createElement("h1"), document.createElement("p")];
  [head.textContent, body.textContent] = [title, text];
  box.append(head, body);
  document.body.replaceChildren(box);
  probe.error = text;
}

/** The volume's description as it came with the page: a way to the server and back less. */
function described(): VolumeInfo | null {
  const text = document.getElementById("volume")?.textContent;
  return text ? (JSON.parse(text) as VolumeInfo) : null;
}

async function start(): Promise<void> {
  const id = decodeURIComponent(location.pathname.replace(/\/+$/, "").split("/").pop() ?? "");
  for (;;) {
    try {
      probe.volume = described() ?? (await info(id));
      break;
    } catch (reason) {
      const gone = !(reason instanceof ServerError) || reason.status === 503;
      message(id, gone ? "the server does not answer; trying again" : (reason as Error).message);
      if (!gone) return;
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
  document.body.replaceChildren();
  document.title = `${probe.volume.name} · beamrail`;
  try {
    probe.app = new App(probe.volume);
  } catch (reason) {
    message(probe.volume.name, reason instanceof Error ? reason.message : String(reason));
    return;
  }
  probe.error = null;
  probe.ready = true;
}

void start();
