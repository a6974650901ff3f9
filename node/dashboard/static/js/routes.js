// Places in the dashboard: `#/needs/need-k3v7?state=active`, and how to go there.
import { store } from "./lib.js";

export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#?\/?/, "").split("?", 2);
  const parts = path.split("/").filter(Boolean).map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { page: parts[0] || "overview", id: parts[1] || "", params: Object.fromEntries(new URLSearchParams(query)) };
}

export const place = store(parse(location.hash));

addEventListener("hashchange", () => place.set(parse(location.hash)));

export function go(hash) {
  location.hash = hash;
}

/** Change the query of where we are: an empty value goes. Typing makes no new entry of the history. */
export function setParams(changes, { replace = false } = {}) {
  const { page, id, params } = place.get();
  const next = new URLSearchParams();
  for (const [key, value] of Object.entries({ ...params, ...changes })) {
    if (value !== "" && value !== null && value !== undefined && value !== false) next.set(key, String(value));
  }
  const text = next.toString();
  const hash = "#/" + [page, id].filter(Boolean).map(encodeURIComponent).join("/") + (text ? "?" + text : "");
  if (replace) {
    history.replaceState(null, "", hash);
    place.set(parse(hash));
  } else {
    location.hash = hash;
  }
}
