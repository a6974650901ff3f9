// Reading from the daemon: one function for a request, one hook that keeps a component's data fresh.
import { store, useCallback, useEffect, useRef, useState } from "./lib.js";
import { onEvent } from "./live.js";

const TIMEOUT_MS = 15000;
// A burst of events is one look: not sooner after the last than this.
const LIVE_PAUSE_MS = 350;
const RETRY_MS = 2000;

/** ok | down (nobody answers) | locked (no session, or it has ended). */
export const link = store({ state: "ok", problem: null });

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || "The daemon refused.");
    this.status = status;
    this.code = body.code || "";
    this.fix = body.fix || "";
  }
}

function query(params) {
  const found = Object.entries(params || {}).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return found.length ? "?" + new URLSearchParams(found.map(([k, v]) => [k, String(v)])) : "";
}

/** What js/early.js asked for already, once. */
function early(path) {
  if (path !== "dashboard/overview" || !window.early) return null;
  const found = window.early;
  window.early = null;
  return found;
}

/** GET as JSON. Throws Problem; status 0 where nobody answered. */
export async function read(path, params) {
  let response;
  try {
    response = await (early(path) || fetch("/api/v1/" + path + query(params), {
      headers: { accept: "application/json" },
      credentials: "same-origin",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    }));
  } catch {
    const gone = new Problem(0, {
      code: "daemon-down",
      detail: "The daemon does not answer.",
      fix: "swarmd up",
    });
    link.set({ state: "down", problem: gone });
    throw gone;
  }
  const body = await response.json().catch(() => ({}));
  if (!response.ok) {
    const problem = new Problem(response.status, body);
    if (response.status === 401) link.set({ state: "locked", problem });
    throw problem;
  }
  if (link.get().state !== "ok") link.set({ state: "ok", problem: null });
  return body;
}

const ahead = new Map();

/** Ask for what the first view shows, once, and wait for it so long: it is drawn once then, not empty and then anew. */
export async function readAhead(path, waitMs) {
  const asked = { answer: read(path), data: null };
  ahead.set(path, asked);
  const here = asked.answer.then(
    (data) => (asked.data = data),
    () => {}, // who reads it sees that it failed
  );
  await Promise.race([here, new Promise((late) => setTimeout(late, waitMs))]);
}

function take(key) {
  const asked = ahead.get(key);
  ahead.delete(key);
  return asked && asked.answer;
}

/**
 * {data, problem, loading, reload}: `data` of `path`, kept while the next is on its way.
 * `live(event)`: whether an event of the mesh is a reason to look again. `path` null: nothing to read.
 */
export function useRead(path, params, { live, every } = {}) {
  const key = path === null ? null : path + query(params);
  const [state, setState] = useState(() => {
    const data = ahead.get(key)?.data || null;
    return { key: data && key, data, problem: null };
  });
  const latest = useRef({});
  latest.current = { key, path, params, live };
  const work = useRef({ busy: false, again: false, last: 0, timer: 0 });

  const load = useCallback(async () => {
    const own = work.current;
    if (own.busy) {
      own.again = true;
      return;
    }
    clearTimeout(own.timer);
    own.timer = 0;
    const asked = latest.current;
    if (asked.key === null || own.ended) return;
    own.busy = true;
    own.last = performance.now();
    try {
      const data = await (take(asked.key) || read(asked.path, asked.params));
      if (latest.current.key === asked.key) {
        setState((before) => (before.data === data ? before : { key: asked.key, data, problem: null }));
      }
    } catch (problem) {
      if (latest.current.key === asked.key) {
        setState((before) => ({ key: asked.key, data: before.key === asked.key ? before.data : null, problem }));
      }
      if (problem.status === 0 && !own.ended) own.timer = setTimeout(load, RETRY_MS);
    }
    own.busy = false;
    if (own.again) {
      own.again = false;
      soon();
    }
  }, []);

  const soon = useCallback(() => {
    const own = work.current;
    if (own.timer || own.ended) return;
    const wait = Math.max(0, own.last + LIVE_PAUSE_MS - performance.now());
    own.timer = setTimeout(load, wait);
  }, []);

  useEffect(() => {
    work.current.ended = false;
    load();
  }, [key]);

  useEffect(() => {
    const stop = onEvent((event) => {
      const wanted = latest.current.live;
      if (event.resync || (wanted && wanted(event))) soon();
    });
    const clock = every ? setInterval(() => document.visibilityState === "visible" && soon(), every) : 0;
    return () => {
      stop();
      clearInterval(clock);
      clearTimeout(work.current.timer);
      work.current.ended = true;
    };
  }, []);

  const fits = state.key === key;
  return {
    data: state.data,
    problem: fits ? state.problem : null,
    loading: key !== null && !fits,
    reload: load,
  };
}
