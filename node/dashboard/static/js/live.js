// What happens in the mesh, as it happens: one stream of server-sent events for the whole page.
import { store } from "./lib.js";

/** on | wait (connecting) | off */
export const streaming = store("wait");
/** The latest events, newest first. */
export const feed = store([]);

const FEED_LENGTH = 30;
const AGAIN_MS = 5000;
const POLL_MS = 5000;
const watchers = new Set();
let source = null;
let count = 0;
let again = 0;

/** `watch(event)` for each: {kind, need, task, sender, text, state, at_ns}, or {resync: true} after a gap. */
export function onEvent(watch) {
  watchers.add(watch);
  return () => watchers.delete(watch);
}

function tell(event) {
  for (const watch of [...watchers]) watch(event);
}

function heard(message) {
  let event;
  try {
    event = JSON.parse(message.data);
  } catch {
    return;
  }
  if (!event || typeof event.kind !== "string") return;
  event.key = ++count;
  feed.set([event, ...feed.get()].slice(0, FEED_LENGTH));
  tell(event);
}

export function connect() {
  clearTimeout(again);
  if (source) source.close();
  let opened = false;
  source = new EventSource("/api/v1/events");
  source.onopen = () => {
    streaming.set("on");
    // What came while nobody listened is not sent again: look at everything once more.
    tell({ resync: true });
    opened = true;
  };
  source.onmessage = heard;
  source.addEventListener("envelope", heard);
  source.addEventListener("reset", () => tell({ resync: true }));
  source.onerror = () => {
    streaming.set(opened && source.readyState !== EventSource.CLOSED ? "wait" : "off");
    // A browser comes back by itself after a broken connection, but not after a refusal.
    if (source.readyState === EventSource.CLOSED) again = setTimeout(connect, AGAIN_MS);
  };
}

/** Nobody is logged in, so there is nothing to listen to. */
export function disconnect() {
  clearTimeout(again);
  if (source) source.close();
  source = null;
  streaming.set("off");
}

// Where there is no stream, pages look by themselves.
setInterval(() => {
  if (streaming.get() === "off" && source && document.visibilityState === "visible") tell({ resync: true });
}, POLL_MS);
