// Keeps a page live. On a change it fetches itself again and takes over what differs; without this script the page
// is the same, only still.
"use strict";
(() => {
  const gone = document.getElementById("gone");
  let waiting = false;
  let again = false;

  // Folded-out details, what somebody types and where the focus is stay as they are.
  const busy = (part) => [...part.querySelectorAll("input, textarea, select")].some((one) =>
    one === document.activeElement || (one.type === "checkbox" ? one.checked !== one.defaultChecked
      : one.type !== "hidden" && "defaultValue" in one && one.value !== one.defaultValue));

  const takeOver = (fresh) => {
    for (const part of document.querySelectorAll("[data-live]")) {
      const other = fresh.getElementById(part.id);
      if (!other || busy(part) || other.innerHTML === part.dataset.seen) continue;
      part.dataset.seen = other.innerHTML;
      if (part.innerHTML === other.innerHTML) continue;
      const open = new Set([...part.querySelectorAll("details[open][id]")].map((one) => one.id));
      const focus = part.contains(document.activeElement) ? document.activeElement.id : "";
      part.replaceChildren(...other.childNodes);
      for (const one of part.querySelectorAll("details[id]")) one.open = one.open || open.has(one.id);
      if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
    }
    for (const log of document.querySelectorAll("[data-tail]")) log.scrollTop = log.scrollHeight;
  };

  const refresh = async () => {
    if (waiting) { again = true; return; }
    waiting = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual" });
      if (answer.type === "opaqueredirect" || answer.status === 401) { location.reload(); return; }
      if (answer.ok) takeOver(new DOMParser().parseFromString(await answer.text(), "text/html"));
    } catch { /* the stream tells when the server is gone */ }
    // Not more than twice a second, however much happens.
    setTimeout(() => { waiting = false; if (again) { again = false; refresh(); } }, 500);
  };

  // What is being made elsewhere for this page: asked for until it is there, and given up when the page is left.
  setInterval(() => { if (document.querySelector("[data-poll]")) refresh(); }, 1000);
  addEventListener("pagehide", () => {
    const form = document.querySelector("form[data-leave]");
    if (form) navigator.sendBeacon(form.dataset.leave, new URLSearchParams(new FormData(form)));
  });

  const relative = (at) => {
    const seconds = Math.round((Date.now() - at) / 1000);
    const ahead = seconds < 0;
    const s = Math.abs(seconds);
    if (s < 5) return "now";
    const text = s < 90 ? `${s} s` : s < 5400 ? `${Math.round(s / 60)} min`
      : s < 129600 ? `${Math.round(s / 3600)} h` : `${Math.round(s / 86400)} d`;
    return ahead ? `in ${text}` : `${text} ago`;
  };

  // The server's clock may not be this one's (a demonstration's runs ahead): the difference is kept.
  const serverNow = Date.parse(document.documentElement.dataset.now || "");
  const offset = Number.isNaN(serverNow) ? 0 : serverNow - Date.now();
  setInterval(() => {
    for (const time of document.querySelectorAll("time[data-ago]")) {
      const text = relative(Date.parse(time.dateTime) - offset);
      if (time.textContent !== text) time.textContent = text;
    }
  }, 10_000);

  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.ask;
    if (question && !confirm(question)) event.preventDefault();
  });

  if (!document.querySelector("[data-live]") || !window.EventSource) return;
  const stream = new EventSource("/live");
  let heard = false;
  stream.addEventListener("hello", () => {
    gone.hidden = true;
    if (heard) refresh();
    heard = true;
  });
  stream.addEventListener("change", refresh);
  stream.onerror = () => {
    gone.hidden = false;
    // A server that refuses ends the stream; it is asked again like one that is gone.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 15_000);
  };
})();
