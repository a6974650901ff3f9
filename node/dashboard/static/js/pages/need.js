// One need: its plan as a graph, what caused what, where the money went, what came out.
import { useRead } from "../api.js";
import { ago, count, ms, plural, usdc, when } from "../format.js";
import { Graph, TaskFacts } from "../graph.js";
import { html, useState } from "../lib.js";
import { KindMark } from "../kinds.js";
import { Ago, Badge, Card, Copy, Empty, PageHead, Reading, Tile, Tone, Who } from "../parts.js";

const SHOWN = 60;
const ENDED = ["FINALIZED", "REFUNDED", "EXPIRED"];

function Tiles({ it }) {
  const paid = it.escrow.state === "none" ? "no escrow" : `escrow ${it.escrow.state}`;
  return html`<div class="tiles">
    <${Tile} name="Tasks" value=${`${it.done}/${it.tasks.length}`} note=${it.done === it.tasks.length ? "all done" : "done"} />
    <${Tile} name="Paid" value=${usdc(it.paid)} unit="USDC" note=${`of ${usdc(it.budget)}, ${paid}`} />
    <${Tile} name="Decided after" value=${ms(it.decide_ms)} note=${it.decide_ms === null ? "no decision yet" : "from need to decision"} />
    <${Tile} name="Finished after" value=${ms(it.finalize_ms)} note=${it.finalize_ms === null ? (ENDED.includes(it.state) ? "it did not finish" : `deadline ${ago(it.deadline_ns)}`) : "from need to last result"} /></div>`;
}

function Plan({ need, live, me }) {
  const found = useRead("dashboard/needs/" + encodeURIComponent(need) + "/graph", null, { live });
  const [chosen, choose] = useState("");
  return html`<${Card} title="Plan" sub=${found.data ? plural(found.data.tasks.length, "task") : ""} bare><${Reading} of=${found} rows=${5}>${(plan) => {
    if (!plan.tasks.length) return html`<${Empty} icon="needs" title="No plan yet">Planners propose one, and a committee decides.</${Empty}>`;
    const task = plan.tasks.find((each) => each.task === chosen);
    return html`<div class="plan"><${Graph} tasks=${plan.tasks} chosen=${chosen} choose=${(name) => choose(name === chosen ? "" : name)} />
      <div class="task" role="group" aria-label="Chosen task" aria-live="polite">${task
        ? html`<h3>${task.task}</h3><${TaskFacts} task=${task} Who=${Who} Badge=${Badge} me=${me} />`
        : html`<p class="muted">Choose a task to see who works on it, what it costs and who judged it.</p>`}</div></div>`;
  }}</${Reading}></${Card}>`;
}

function Gate({ gate }) {
  if (!gate) return html`<span class="faint">not recorded</span>`;
  if (gate.allow) return html`<${Tone} of="good">allowed</${Tone}>`;
  return html`<${Tone} of="bad">denied</${Tone}> <span class="faint">${gate.reasons.join(", ")}</span>`;
}

function Step({ step, first, me }) {
  const offset = step.at_ns && first ? (step.at_ns - first) / 1e6 : null;
  return html`<li class=${"step" + (step.void ? " void" : "")}><details><summary>
      <${KindMark} kind=${step.kind} /><span class="grow text">${step.task && html`<span class="tag">${step.task}</span> `}${step.text}</span>
      <span class="wide"><${Who} did=${step.sender} me=${me} size=${15} /></span>
      ${step.gate && !step.gate.allow && html`<${Tone} of="bad">denied</${Tone}>`}${step.void && html`<${Tone} of="warn">void</${Tone}>`}
      ${!step.verified && html`<${Tone} of="bad">bad signature</${Tone}>`}
      <span class="num faint nowrap time">${offset === null ? "" : "+" + ms(Math.max(0, offset))}</span></summary>
    <dl class="pairs"><dt>Said by</dt><dd><${Who} did=${step.sender} me=${me} full /></dd><dt>At</dt><dd>${when(step.at_ns)}, lamport ${count(step.lamport)}</dd>
      <dt>Signature</dt><dd>${step.verified ? "checked just now: it holds" : "does not hold"}</dd><dt>Our gate</dt><dd><${Gate} gate=${step.gate} /></dd>
      ${step.void && html`<dt>Void</dt><dd>${step.void}</dd>`}<dt>Envelope</dt><dd><code>${step.id || "–"}</code></dd>
      ${step.refs.length > 0 && html`<dt>Follows</dt><dd>${step.refs.map((ref) => html`<div><code>${ref}</code></div>`)}</dd>`}
      ${step.trace && html`<dt>Trace</dt><dd><code>${step.trace}</code></dd>`}</dl></details></li>`;
}

function Chain({ need, live, me }) {
  const found = useRead("dashboard/needs/" + encodeURIComponent(need) + "/why", null, { live });
  const [all, setAll] = useState(false);
  return html`<${Card} title="What happened, and why" sub="every signed statement, in causal order" bare><${Reading} of=${found} rows=${8}>${(why) => {
    const steps = all ? why.steps : why.steps.slice(0, SHOWN);
    const first = why.steps.find((step) => step.at_ns)?.at_ns;
    if (!steps.length) return html`<${Empty} title="Nothing is on record">The statements about this need were pruned here.</${Empty}>`;
    return html`<ol class="chain">${steps.map((step) => html`<${Step} key=${step.id || step.text} step=${step} first=${first} me=${me} />`)}</ol>
      ${why.steps.length > SHOWN && !all && html`<div class="pager"><span>${SHOWN} of ${count(why.steps.length)} steps</span><span class="end">
        <button type="button" class="button" onClick=${() => setAll(true)}>Show all</button></span></div>`}`;
  }}</${Reading}></${Card}>`;
}

function Money({ it, me }) {
  const { escrow } = it;
  return html`<${Card} title="Money" end=${escrow.state !== "none" && html`<${Badge} state=${escrow.state} />`}>
    ${escrow.state === "none" ? html`<p class="muted">No escrow of this need is known here.</p>` : html`<dl class="pairs">
      <dt>Locked</dt><dd class="num">${usdc(escrow.amount)} USDC by <${Who} did=${it.owner} me=${me} /></dd>
      ${escrow.paid.map((pay) => html`<dt key=${pay.task}>${pay.task}</dt><dd class="num">${usdc(pay.amount)} USDC to <${Who} did=${pay.worker} me=${me} /></dd>`)}
      ${it.held !== "0" && html`<dt>Due</dt><dd class="num">${usdc(it.held)} USDC, when the challenge window ends</dd>`}
      <dt>Returned</dt><dd class="num">${usdc(escrow.returned)} USDC</dd></dl>`}
    ${it.anchor ? html`<dl class="pairs anchor"><dt>Anchored</dt><dd>block ${count(it.anchor.block)} of chain ${it.anchor.chain_id}, with ${plural(it.anchor.receipts, "receipt")}<br />
      <code>${it.anchor.tx_hash}</code> <${Copy} text=${it.anchor.tx_hash} label="Copy the transaction" /></dd></dl>` : null}</${Card}>`;
}

function Result({ it }) {
  const names = Object.keys(it.result);
  return html`<${Card} title="Result">${names.length
    ? names.map((name) => html`<div class="result" key=${name}><h3>${name}</h3>
        ${name in it.values ? html`<pre tabindex="0" aria-label=${`Result of ${name}`}>${JSON.stringify(it.values[name], null, 2)}</pre>` : html`<p class="muted">Its content is not on this host: <code>swarmd content get ${it.result[name]}</code></p>`}</div>`)
    : html`<p class="muted">${ENDED.includes(it.state) ? it.reason || "It ended without a result." : "Nothing yet: results appear when they are accepted."}</p>`}</${Card}>`;
}

function Challenges({ it, me }) {
  if (!it.challenges.length) return null;
  return html`<${Card} title="Challenges" bare><ul class="lines">${it.challenges.map((each) => html`<li key=${each.challenge}><div class="line">
    <span class="grow"><b>${each.task}</b><span class="faint"> ${each.reason}</span><div><${Who} did=${each.challenger} me=${me} /> stakes ${usdc(each.bond)} USDC</div></span>
    <${Tone} of=${each.outcome === "pending" ? "busy" : each.outcome === "upheld" ? "bad" : "good"}>${each.outcome}</${Tone}></div></li>`)}</ul></${Card}>`;
}

export function NeedPage({ at, overview }) {
  const me = overview.data?.did;
  const live = (event) => event.need === at.id || !event.need;
  const found = useRead("needs/" + encodeURIComponent(at.id), null, { live });
  const it = found.data;
  const crumb = { href: "#/needs", text: "Needs" };
  if (!it) return html`<${PageHead} title=${at.id} crumb=${crumb} /><div class="card"><${Reading} of=${found} rows=${6}>${() => null}</${Reading}></div>`;
  const sub = it.waiting_for ? `Waits for ${it.waiting_for}.` : it.reason ? `Ended: ${it.reason}.` : "";
  return html`<${PageHead} crumb=${crumb} title=${it.title || it.need} badge=${html`<${Badge} state=${it.state} />`}
      sub=${html`<span class="headline"><code>${it.need}</code><${Copy} text=${it.need} label="Copy the need's id" /> posted <${Ago} ns=${it.created_ns} /> by <${Who} did=${it.owner} me=${me} />${sub && html`<br />${sub}`}</span>`} />
    <div class="stack"><${Tiles} it=${it} />
      <${Plan} need=${it.need} live=${live} me=${me} />
      <${Challenges} it=${it} me=${me} />
      <div class="grid"><div class="w8"><${Chain} need=${it.need} live=${live} me=${me} /></div>
        <div class="w4 stack"><${Result} it=${it} /><${Money} it=${it} me=${me} /></div></div></div>`;
}
