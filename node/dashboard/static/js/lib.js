// The one place that knows which library draws (vendor/VENDOR.md).
export { html, render, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/htm-preact.js";

import { useEffect, useState } from "../vendor/htm-preact.js";

/** A value that several components watch: `get`, `set`, `subscribe`. */
export function store(value) {
  const watchers = new Set();
  return {
    get: () => value,
    set(next) {
      if (next === value) return;
      value = next;
      for (const watch of [...watchers]) watch(value);
    },
    subscribe(watch) {
      watchers.add(watch);
      return () => watchers.delete(watch);
    },
  };
}

export function useStore(from) {
  const [value, set] = useState(from.get());
  useEffect(() => {
    set(from.get());
    return from.subscribe(set);
  }, [from]);
  return value;
}
