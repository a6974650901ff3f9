// The plan of a need, drawn: tasks as boxes in layers, moving as their states change.
import { stateWord, usdc } from "./format.js";
import { html, useEffect, useMemo, useRef, useState } from "./lib.js";
import { curve, layout } from "./layout.js";

const BOX = { width: 196, height: 54 };
const GAP = { layer: 56, slot: 18 };
const LEAST_SCALE = 0.6;
const PAD = 14;
const TONE = { CLAIMED: "busy", COMMITTED: "accent", DECIDED: "accent", FINALIZED: "good", FAILED: "bad" };
const clip = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

/** How wide the frame is, in pixels. */
function useWidth(ref) {
  const [width, set] = useState(0);
  useEffect(() => {
    const watcher = new ResizeObserver(([entry]) => set(Math.round(entry.contentRect.width)));
    watcher.observe(ref.current);
    return () => watcher.disconnect();
  }, []);
  return width;
}

/** Layers go right where that fits, else down where that is narrower; what is still too wide is drawn smaller, and scrolls. */
function arrange(tasks, room) {
  const right = { down: false, ...layout(tasks, BOX, GAP, false) };
  if (!room || right.width + 2 * PAD <= room) return right;
  const down = { down: true, ...layout(tasks, BOX, GAP, true) };
  return down.width < right.width ? down : right;
}

function Edge({ edge, states, down, chosen }) {
  const from = states.get(edge.from);
  const to = states.get(edge.to);
  const kind = to === "CLAIMED" ? "moving" : from === "FINALIZED" ? "passed" : "";
  const lit = chosen && (edge.from === chosen || edge.to === chosen) ? " lit" : "";
  return html`<path class=${"edge " + kind + lit} d=${curve(edge.points, down)} marker-end=${lit ? "url(#tip-lit)" : "url(#tip)"} />`;
}

function Node({ task, at, chosen, choose }) {
  const label = `${task.task}, ${stateWord(task.state)}, ${task.capability}`;
  const pressed = (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(task.task);
    }
  };
  return html`<g class=${"node " + (TONE[task.state] || "")} role="button" tabindex="0" aria-label=${label} aria-pressed=${String(chosen)}
      style=${{ transform: `translate(${at.x}px, ${at.y}px)` }} onClick=${() => choose(task.task)} onKeyDown=${pressed} data-task=${task.task} data-state=${task.state}>
    <title>${label}</title>
    <rect class="halo" x="-3" y="-3" width=${BOX.width + 6} height=${BOX.height + 6} rx="12" />
    <rect class="box" width=${BOX.width} height=${BOX.height} rx="9" />
    <circle class="dot" cx="17" cy="20" r="4.5" />
    <text class="name" x="30" y="24.5">${clip(task.task, 22)}</text>
    <text class="what" x="14" y="42">${clip(task.capability, 18)}</text>
    <text class="word" x=${BOX.width - 12} y="42" text-anchor="end">${stateWord(task.state)}</text></g>`;
}

export function Graph({ tasks, chosen, choose }) {
  const frame = useRef(null);
  const room = useWidth(frame);
  // Only what the plan is made of moves boxes; states just recolour them.
  const shape = JSON.stringify(tasks.map((task) => [task.task, task.parents]));
  const drawn = useMemo(() => arrange(tasks.map((task) => ({ id: task.task, parents: task.parents })), room), [shape, room]);
  const states = new Map(tasks.map((task) => [task.task, task.state]));
  const width = drawn.width + 2 * PAD;
  const height = drawn.height + 2 * PAD;
  const scale = room ? Math.max(LEAST_SCALE, Math.min(1, room / width)) : 1;
  return html`<div class="graph" ref=${frame} tabindex="0" role="group" aria-label=${`Plan of ${tasks.length} tasks`}>
    <svg viewBox=${`${-PAD} ${-PAD} ${width} ${height}`} width=${Math.round(width * scale)} height=${Math.round(height * scale)}>
      <defs>${["tip", "tip-lit"].map((id) => html`<marker id=${id} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto" markerUnits="userSpaceOnUse">
        <path class=${id} d="M1,1 L7,4 L1,7" /></marker>`)}</defs>
      ${drawn.edges.map((edge) => html`<${Edge} key=${edge.from + "→" + edge.to} edge=${edge} states=${states} down=${drawn.down} chosen=${chosen} />`)}
      ${tasks.map((task) => html`<${Node} key=${task.task} task=${task} at=${drawn.nodes.get(task.task)} chosen=${task.task === chosen} choose=${choose} />`)}
    </svg></div>`;
}

/** What there is to say of one task. */
export function TaskFacts({ task, Who, Badge, me }) {
  return html`<dl class="pairs"><dt>State</dt><dd><${Badge} state=${task.state} />${task.attempt > 0 && html` <span class="faint">attempt ${task.attempt + 1}</span>`}</dd>
    <dt>Capability</dt><dd><span class="tag">${task.capability}</span></dd>
    <dt>Worker</dt><dd>${task.worker ? html`<${Who} did=${task.worker} me=${me} />` : html`<span class="faint">nobody yet</span>`}</dd>
    <dt>Price</dt><dd class="num">${usdc(task.price)} USDC</dd>
    ${task.parents.length > 0 && html`<dt>After</dt><dd class="tags">${task.parents.map((name) => html`<span class="tag" key=${name}>${name}</span>`)}</dd>`}
    ${task.judges.map((judge, at) => html`<dt>${at ? "" : "Judged"}</dt><dd key=${judge.judge}><${Who} did=${judge.judge} me=${me} /> <span class=${"badge " + (judge.verdict === "accept" ? "good" : "bad")}>${judge.verdict}</span>
      ${judge.reason && html`<div class="faint">${judge.reason}</div>`}</dd>`)}
    ${task.ended.map((end) => html`<dt>Attempt ${end.attempt + 1}</dt><dd>${end.cause}${end.reason && html`<span class="faint">: ${end.reason}</span>`}</dd>`)}
    ${Object.entries(task.telemetry).map(([name, value]) => html`<dt>${name.replace(/_/g, " ")}</dt><dd class="num">${value}</dd>`)}
    ${task.result && html`<dt>Result</dt><dd><code>${task.result}</code></dd>`}</dl>`;
}
