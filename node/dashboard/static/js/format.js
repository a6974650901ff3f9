// Text for people. All of it is put into text nodes and attributes, never into markup.

const whole = new Intl.NumberFormat("en");

export const count = (n) => (n === null || n === undefined ? "–" : whole.format(n));

/** A decimal text of USDC as the daemon gives it: grouped, at least two decimals, never rounded. */
export function usdc(text) {
  const found = /^([+-]?)(\d+)(?:\.(\d+))?$/.exec(String(text ?? ""));
  if (!found) return String(text ?? "–") || "–";
  const [, sign, units, rest = ""] = found;
  return (sign === "-" ? "−" : "") + whole.format(BigInt(units)) + "." + rest.padEnd(2, "0");
}

/** "z6MkhaXg…2Kxc" */
export function short(id) {
  const text = String(id ?? "").replace(/^did:key:/, "");
  return text.length > 16 ? text.slice(0, 8) + "…" + text.slice(-4) : text;
}

export function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (n >= 1000 && at < units.length - 1) {
    n /= 1000;
    at += 1;
  }
  return (at && n < 100 ? n.toFixed(1) : Math.round(n)) + " " + units[at];
}

export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1) return "<1 ms";
  if (value < 1000) return Math.round(value) + " ms";
  if (value < 60000) return (value / 1000).toFixed(value < 10000 ? 2 : 1) + " s";
  return span(value / 1000);
}

/** Seconds as "3 min", "5 h", "2 d". */
export function span(seconds) {
  const steps = [[60, "s", 1], [3600, "min", 60], [86400, "h", 3600], [Infinity, "d", 86400]];
  const [, unit, size] = steps.find(([end]) => seconds < end);
  return Math.floor(seconds / size) + " " + unit;
}

/** How long ago; `ns` is a time in nanoseconds. */
export function ago(ns, now = Date.now()) {
  if (!ns) return "–";
  const seconds = (now - ns / 1e6) / 1000;
  if (seconds < 0) return "in " + span(-seconds);
  return seconds < 5 ? "just now" : span(seconds) + " ago";
}

export function when(ns) {
  return ns ? new Date(ns / 1e6).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" }) : "–";
}

export const percent = (part, all) => (all ? Math.round((100 * part) / all) + " %" : "–");

export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

const WORDS = {
  OPEN: "Open",
  PROPOSED: "Proposed",
  DECIDED: "Decided",
  RUNNING: "Running",
  CLAIMED: "Working",
  COMMITTED: "In review",
  FINALIZED: "Finalized",
  FAILED: "Failed",
  REFUNDED: "Refunded",
  EXPIRED: "Expired",
};
const TONES = {
  RUNNING: "busy",
  CLAIMED: "busy",
  COMMITTED: "accent",
  DECIDED: "accent",
  FINALIZED: "good",
  FAILED: "bad",
  REFUNDED: "warn",
  EXPIRED: "bad",
  funded: "accent",
  released: "good",
  refunded: "warn",
  expired: "bad",
  disputed: "bad",
  resolved: "good",
  verified: "good",
  submitted: "busy",
  negotiating: "busy",
  accepted: "accent",
  offered: "busy",
};

export function stateWord(state) {
  const text = String(state || "");
  return WORDS[text] || text.charAt(0).toUpperCase() + text.slice(1).toLowerCase();
}

export const tone = (state) => TONES[state] || "";
