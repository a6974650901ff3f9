// What happens in the mesh, as it happens: one stream of server-sent events for the whole page.
import { store } from "./lib.js";

/** on | wait (connecting) | off */
export const streaming = store("wait");
/** The latest events, newest first. */
export const feed = store([]);

const FEED_LENGTH = 30;
const AGAIN_MS = 3000;
const watchers = new Set();
let source = null;
let count = 0;

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
  source.onerror = () => {
    streaming.set(opened ? "wait" : "off");
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, AGAIN_MS);
  };
}
