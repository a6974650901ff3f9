// Line icons on a 20 x 20 field.
import { html } from "./lib.js";

const PATHS = {
  overview: "M3 3.5h5.5v7H3zM11.5 3.5H17v4h-5.5zM11.5 10.5H17v6h-5.5zM3 13.5h5.5v3H3z",
  needs: "M4 5.5h12M4 10h12M4 14.5h8",
  escrow: "M4.5 9h11v7.5h-11zM7 9V6.5a3 3 0 0 1 6 0V9M10 12v1.8",
  peers: "M10 6.2v7.6M6.2 14.4 9 7.8M13.8 14.4 11 7.8M6.8 16h6.4M10 6.2a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6M5 17.8A1.8 1.8 0 1 0 5 14.200a1.8 1.8 0 0 0 0 3.6M15 17.8a1.8 1.8 0 1 0 0-3.6 1.8 1.8 0 0 0 0 3.6",
  agents: "M5 7.500h10v8H5zM10 7.500V4M8 11v1.500M12 11v1.500M2.800 10v3M17.200 10v3",
  policy: "M10 2.800 16 5v4.800c0 3.700-2.500 6.200-6 7.400-3.500-1.200-6-3.700-6-7.400V5zM7.500 10l1.800 1.800 3.300-3.600",
  ledger: "M5 3h10v14.200l-2.500-1.500L10 17.200l-2.500-1.500L5 17.200zM7.800 7h4.400M7.800 10.300h4.400",
  review: "M4 3.500h12v9.500h-4l-2 3-2-3H4zM10 6v2.800M10 10.800v.1",
  analytics: "M3.500 16.500h13M5.500 16.500v-5M9 16.500v-9M12.500 16.500v-6.500M16 16.500V4",
  sun: "M10 13.200a3.200 3.200 0 1 0 0-6.400 3.200 3.200 0 0 0 0 6.400M10 2.500v1.600M10 15.900v1.600M2.500 10h1.600M15.900 10h1.600M4.700 4.700l1.100 1.100M14.200 14.200l1.100 1.100M4.700 15.300l1.100-1.100M14.200 5.800l1.100-1.100",
  moon: "M16.500 11.600A6.800 6.800 0 0 1 8.400 3.500a6.800 6.800 0 1 0 8.100 8.100z",
  keys: "M2.800 5.500h14.400v9H2.800zM5.500 8.300h.1M8.500 8.300h.1M11.500 8.300h.1M14.500 8.300h.1M6.500 11.700h7",
  search: "M9 14.500a5.500 5.500 0 1 0 0-11 5.500 5.500 0 0 0 0 11M13 13l3.800 3.800",
  copy: "M7.500 7.500h8.500v8.500H7.500zM4 12.500V4h8.500",
  check: "M4.500 10.500l3.600 3.600 7.400-8",
  cross: "M5.500 5.500l9 9M14.500 5.500l-9 9",
  menu: "M3.500 6h13M3.500 10h13M3.500 14h13",
  back: "M12 5l-5 5 5 5",
  next: "M8 5l5 5-5 5",
  warn: "M10 3.300 17.500 16.500H2.500zM10 8.500v3.500M10 14v.1",
  lock: "M4.500 9h11v7.500h-11zM7 9V6.500a3 3 0 0 1 6 0V9",
  plug: "M7 3v4M13 3v4M5 7h10v3a5 5 0 0 1-10 0zM10 15v2.500",
  spark: "M3 11h3l2-5.500 3.500 9L14 8l1 3h2",
};

export function Icon({ name, size = 18 }) {
  return html`<svg viewBox="0 0 20 20" width=${size} height=${size} fill="none" stroke="currentColor" stroke-width="1.5"
    stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false"><path d=${PATHS[name] || ""} /></svg>`;
}

export function Mark({ size = 28 }) {
  return html`<svg viewBox="0 0 32 32" width=${size} height=${size} aria-hidden="true" focusable="false">
    <rect width="32" height="32" rx="8" fill="#5b5bd6" />
    <path d="M10 11l6-3 6 3M10 11l6 10 6-10M16 8v13" fill="none" stroke="#fff" stroke-width="2" stroke-linecap="round" opacity=".75" />
    <circle cx="16" cy="8" r="2.6" fill="#fff" /><circle cx="10" cy="11.5" r="2.6" fill="#fff" />
    <circle cx="22" cy="11.5" r="2.6" fill="#fff" /><circle cx="16" cy="22" r="3.2" fill="#fff" /></svg>`;
}
