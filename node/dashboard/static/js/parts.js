// The parts that pages share.
import { html, useEffect, useRef, useState } from "./lib.js";
import { ago, count, short, stateWord, tone, when } from "./format.js";
import { Icon } from "./icons.js";

let toasting = 0;

/** A short message at the foot of the page, and for screen readers. */
export function toast(text) {
  const place = document.getElementById("toast");
  if (!place) return;
  place.textContent = text;
  place.hidden = false;
  clearTimeout(toasting);
  toasting = setTimeout(() => {
    place.hidden = true;
  }, 1800);
}

export async function copy(text, what = "Copied") {
  try {
    await navigator.clipboard.writeText(text);
    toast(what);
  } catch {
    toast("The browser does not let pages copy here");
  }
}

export function Copy({ text, label = "Copy" }) {
  return html`<button type="button" class="button quiet" title=${label} aria-label=${label} onClick=${() => copy(text)}>
    <${Icon} name="copy" size=${15} /></button>`;
}

export function Command({ text }) {
  return html`<span class="command"><code tabindex="0" role="group" aria-label="Command">${text}</code><${Copy} text=${text} label="Copy the command" /></span>`;
}

export function Badge({ state, word }) {
  return html`<span class=${"badge " + tone(state)}>${word || stateWord(state)}</span>`;
}

export function Tone({ of, plain, children }) {
  return html`<span class=${"badge " + (of || "") + (plain ? " plain" : "")}>${children}</span>`;
}

const HUES = [262, 212, 172, 142, 92, 42, 12, 332, 292, 232];

/** A small picture of an identity: its own pattern and colour, so that people recognise it. */
function Face({ id, size }) {
  let hash = 2166136261;
  for (let at = 0; at < id.length; at += 1) hash = Math.imul(hash ^ id.charCodeAt(at), 16777619) >>> 0;
  const cells = [];
  for (let row = 0; row < 5; row += 1) {
    for (let column = 0; column < 3; column += 1) {
      hash = (Math.imul(hash, 1664525) + 1013904223) >>> 0;
      if (hash >>> 31) cells.push([column, row], ...(column < 2 ? [[4 - column, row]] : []));
    }
  }
  const hue = HUES[hash % HUES.length];
  return html`<svg class="face" viewBox="-1 -1 7 7" width=${size} height=${size} aria-hidden="true" focusable="false">
    ${cells.map(([x, y]) => html`<rect x=${x} y=${y} width="1.02" height="1.02" fill=${`hsl(${hue} 55% 52%)`} />`)}</svg>`;
}

export function Who({ did, me, size = 18, full }) {
  if (!did) return html`<span class="faint">–</span>`;
  return html`<span class="who" title=${did}><${Face} id=${did} size=${size} />
    <code>${full ? did : short(did)}</code>${did === me && html`<em>this node</em>`}</span>`;
}

export function Ago({ ns }) {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const clock = setInterval(() => set(Date.now()), 10000);
    return () => clearInterval(clock);
  }, []);
  if (!ns) return html`<span class="faint">–</span>`;
  return html`<time class="nowrap num" dateTime=${new Date(ns / 1e6).toISOString()} title=${when(ns)}>${ago(ns, Math.max(now, Date.now()))}</time>`;
}

export function Bar({ part, of, label }) {
  const share = of ? Math.min(1, part / of) : 0;
  return html`<span class="progress"><span class=${"bar" + (share === 1 ? " good" : "")} role="progressbar" aria-label=${label || "Progress"}
    aria-valuemin="0" aria-valuemax=${of} aria-valuenow=${part}><i style=${{ width: `${Math.round(share * 100)}%` }}></i></span>
    <span class="nowrap">${part}/${of}</span></span>`;
}

/** 0 to 100, with a bar. */
export function Score({ value, label = "Score" }) {
  const kind = value >= 66 ? "good" : value >= 33 ? "warn" : "bad";
  return html`<span class="progress"><span class=${"bar " + kind} role="meter" aria-label=${label} aria-valuemin="0" aria-valuemax="100"
    aria-valuenow=${value}><i style=${{ width: `${value}%` }}></i></span><span>${value}</span></span>`;
}

export function Card({ title, sub, end, children, bare, id }) {
  const label = id || "card-" + String(title).toLowerCase().replace(/[^a-z]+/g, "-");
  return html`<section class="card" aria-labelledby=${label}>
    <header><h2 id=${label}>${title}</h2>${sub && html`<span class="sub">${sub}</span>`}${end && html`<span class="end">${end}</span>`}</header>
    ${bare ? children : html`<div class="body">${children}</div>`}</section>`;
}

export function Tile({ name, value, unit, note, href }) {
  const inner = html`<span class="name">${name}</span><div class="value">${value}${unit && html`${" "}<small>${unit}</small>`}</div>
    ${note && html`<div class="note">${note}</div>`}`;
  return href ? html`<a class="tile" href=${href}>${inner}</a>` : html`<div class="tile">${inner}</div>`;
}

export function Empty({ icon = "spark", title, children, command }) {
  return html`<div class="empty"><span class="pic"><${Icon} name=${icon} size=${22} /></span><b>${title}</b>
    ${children && html`<p>${children}</p>`}${command && html`<${Command} text=${command} />`}</div>`;
}

function Loading({ rows = 4 }) {
  return html`<div class="skeletons" role="status"><span class="hidden">Loading</span>
    ${Array.from({ length: rows }, (_, at) => html`<span class="skeleton" style=${{ width: `${[92, 71, 84, 60][at % 4]}%` }}></span>`)}</div>`;
}

/** What went wrong, and what to do: the words of the daemon. */
export function Trouble({ problem, again }) {
  const command = /^swarmd [a-z]/.test(problem.fix || "") && !/[.;:]/.test(problem.fix) ? problem.fix : "";
  return html`<div class="empty" role="alert"><span class="pic"><${Icon} name="warn" size=${22} /></span>
    <b>${problem.status === 404 ? "Not found" : "This could not be shown"}</b><p>${problem.message}</p>
    ${problem.fix && (command ? html`<${Command} text=${command} />` : html`<p>${problem.fix}</p>`)}
    ${again && html`<button type="button" class="button" onClick=${again}>Try again</button>`}</div>`;
}

/** The three states of a read: loading, trouble, here. `children` is a function of the data. */
export function Reading({ of, rows, children }) {
  if (of.data === null || of.data === undefined) {
    if (of.problem) return html`<${Trouble} problem=${of.problem} again=${of.reload} />`;
    return html`<${Loading} rows=${rows} />`;
  }
  if (of.problem && of.problem.status && !of.loading) return html`<${Trouble} problem=${of.problem} again=${of.reload} />`;
  return children(of.data);
}

export function PageHead({ title, sub, crumb, actions, badge }) {
  return html`<div class="page-head"><div class="grow">
    ${crumb && html`<a class="crumb" href=${crumb.href}><${Icon} name="back" size=${15} />${crumb.text}</a>`}
    <h1>${title} ${badge}</h1>${sub && html`<p class="sub">${sub}</p>`}</div>
    ${actions && html`<div class="actions">${actions}</div>`}</div>`;
}

/** One of several, as buttons. */
export function Choices({ label, value, options, onChange }) {
  return html`<div class="choices" role="group" aria-label=${label}>
    ${options.map(([key, text]) => html`<button type="button" key=${key} aria-pressed=${String(key === value)} onClick=${() => onChange(key)}>${text}</button>`)}</div>`;
}

export function SearchField({ value, label, onChange, id = "search" }) {
  const [text, set] = useState(value);
  const timer = useRef(0);
  const told = useRef(value);
  // Only what others set: our own words come back late, when more has been typed.
  useEffect(() => {
    if (value === told.current) return;
    told.current = value;
    clearTimeout(timer.current);
    set(value);
  }, [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const typed = (event) => {
    const next = event.currentTarget.value;
    set(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      told.current = next.trim();
      onChange(told.current);
    }, 200);
  };
  return html`<label class="field"><${Icon} name="search" size=${16} /><span class="hidden">${label}</span>
    <input id=${id} type="search" value=${text} placeholder=${label} maxlength="120" autocomplete="off" spellcheck=${false} onInput=${typed} />
    <kbd class="wide" aria-hidden="true">/</kbd></label>`;
}

export function Pager({ offset, limit, total, onMove, note }) {
  if (total <= limit && !note) return null;
  const last = Math.min(offset + limit, total);
  return html`<div class="pager"><span class="num">${total ? `${count(offset + 1)}–${count(last)} of ${count(total)}` : "None"}${note && ` · ${note}`}</span>
    <span class="end"><button type="button" class="button" disabled=${offset === 0} onClick=${() => onMove(Math.max(0, offset - limit))}>
      <${Icon} name="back" size=${15} />Newer</button>
    <button type="button" class="button" disabled=${last >= total} onClick=${() => onMove(offset + limit)}>
      Older<${Icon} name="next" size=${15} /></button></span></div>`;
}

/** A table; `columns`: [{name, right, wide, cell(row), title}]. */
export function Table({ label, columns, rows, keyOf }) {
  const place = (column) => [column.right && "right", column.wide && (column.wide === 2 ? "wide wider" : "wide"), column.title && "title"].filter(Boolean).join(" ");
  return html`<table class="table"><caption class="hidden">${label}</caption>
    <thead><tr>${columns.map((column) => html`<th scope="col" class=${place(column)}>${column.name || html`<span class="hidden">${column.hidden}</span>`}</th>`)}</tr></thead>
    <tbody>${rows.map((row, at) => html`<tr key=${keyOf ? keyOf(row) : at}>
      ${columns.map((column) => html`<td class=${place(column)}>${column.cell(row)}</td>`)}</tr>`)}</tbody></table>`;
}

export const needHref = (thread) => (thread.startsWith("escrow-") ? "#/escrows/" : "#/needs/") + encodeURIComponent(thread);

export function NeedLink({ need, title }) {
  if (!need) return html`<span class="faint">–</span>`;
  return html`<a href=${needHref(need)} title=${title || need}>${title || need}</a>`;
}
