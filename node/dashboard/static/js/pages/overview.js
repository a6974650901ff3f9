// The first page: is it well, what does it do, what came last.
import { count, percent, plural, stateWord, usdc } from "../format.js";
import { html, useStore } from "../lib.js";
import { feed } from "../live.js";
import { Ago, Badge, Bar, Card, Copy, Empty, needHref, PageHead, Reading, Tile, Who } from "../parts.js";
import { Columns } from "../charts.js";
import { KindMark } from "../kinds.js";

const STATES = ["RUNNING", "DECIDED", "PROPOSED", "OPEN", "FINALIZED", "REFUNDED", "EXPIRED"];

function headline(it) {
  const { urgent, soon } = it.review;
  if (it.trouble) return "The disk takes nothing more: the node waits.";
  if (urgent) return `${plural(urgent, "matter")} cannot wait: see the review queue.`;
  if (!it.peers && it.known <= 1) return "Alone so far: this node knows of no other.";
  if (!it.peers) return `Cut off: ${plural(it.known - 1, "node")} known, none connected.`;
  if (soon) return `Working, with ${plural(soon, "matter")} to look at.`;
  return it.active ? `All well: ${plural(it.active, "need")} in work.` : "All well, and nothing to do.";
}

function Tiles({ it }) {
  const done = it.needs.FINALIZED || 0;
  const ended = done + (it.needs.REFUNDED || 0) + (it.needs.EXPIRED || 0);
  const { available, locked, earned } = it.balance;
  return html`<div class="tiles">
    <${Tile} name="Active needs" value=${count(it.active)} note=${`of ${count(it.total)} known`} href="#/needs?state=active" />
    <${Tile} name="Finalized" value=${percent(done, ended)} note=${`${count(done)} of ${count(ended)} that ended`} href="#/needs?state=finalized" />
    <${Tile} name="Balance" value=${usdc(available)} unit="USDC" note=${`${usdc(locked)} locked · ${usdc(earned)} earned`} href="#/ledger" />
    <${Tile} name="Peers" value=${count(it.peers)} note=${`${count(it.known)} nodes known`} href="#/peers" />
    <${Tile} name="Agents" value=${`${it.agents.ready}/${it.agents.total}`} note=${it.agents.running ? `${plural(it.agents.running, "job")} running` : "none at work"} href="#/agents" />
    <${Tile} name="To review" value=${count(it.review.urgent + it.review.soon + it.review.note)} note=${it.review.urgent ? `${it.review.urgent} urgent` : "nothing urgent"} href="#/review" />
  </div>`;
}

export function Overview({ overview }) {
  const it = overview.data;
  const events = useStore(feed);
  return html`<${PageHead} title=${it ? it.mesh.name : "Overview"} sub=${it ? headline(it) : "Asking the node …"}
      actions=${it && html`<${Who} did=${it.did} /><${Copy} text=${it.did} label="Copy this node's DID" />`} />
    <${Reading} of=${overview} rows=${8}>${(data) => html`<div class="stack">
      <${Tiles} it=${data} />
      <div class="grid">
        <div class="w7 stack">
          <${Card} title="Last 24 hours" sub="needs by the hour they came"><${Columns} hours=${data.hours} /></${Card}>
          <${Card} title="Latest needs" bare end=${html`<a href="#/needs">All needs</a>`}>
            ${data.recent.length ? html`<ul class="lines">${data.recent.map((need) => html`<li key=${need.need}>
              <a class="line" href=${needHref(need.need)}><span class="grow"><b class="clip">${need.title || need.need}</b>
                <span class="clip faint">${need.waiting_for ? `waits for ${need.waiting_for}` : need.need}</span></span>
                <span class="wide"><${Bar} part=${need.done} of=${need.tasks} label="Tasks done" /></span>
                <${Badge} state=${need.state} /></a></li>`)}</ul>`
              : html`<${Empty} icon="needs" title="No needs yet" command="swarmd need post text.wordcount --text text=@README.md --budget 1.00">
                  Post one, and watch the mesh plan it, do it and check it.</${Empty}>`}
          </${Card}>
        </div>
        <div class="w5 stack">
          <${Card} title="Happening now" bare>
            ${events.length ? html`<ol class="feed" aria-live="off">${events.slice(0, 12).map((event) => html`<li key=${event.key}>
              <${KindMark} kind=${event.kind} /><span class="grow"><a class="clip" href=${needHref(event.need)}>${event.text || event.kind}</a>
              <span class="clip faint">${[event.task, event.need].filter(Boolean).join(" · ")}</span></span><${Ago} ns=${event.at_ns} /></li>`)}</ol>`
              : html`<${Empty} title="Quiet right now">What nodes say about needs appears here as it is said.</${Empty}>`}
          </${Card}>
          <${Card} title="The node"><dl class="pairs">
            <dt>States</dt><dd class="tags">${STATES.filter((s) => data.needs[s]).map((s) => html`<${Badge} key=${s} state=${s} word=${`${stateWord(s)} ${count(data.needs[s])}`} />`)}
              ${!Object.keys(data.needs).length && html`<span class="faint">no needs</span>`}</dd>
            <dt>Consensus</dt><dd>epoch ${data.epoch}${data.bootstrap ? ", bootstrap mode" : ""}, ${data.pool.mine === "none" ? "not a verifier" : `verifier (${data.pool.mine})`}</dd>
            <dt>Policy</dt><dd><a href="#/policy"><code>${data.policy_hash.slice(0, 12)}</code></a></dd>
            <dt>Chain</dt><dd>${data.chain.kind || "none"}, ${data.chain.state || "unknown"}${data.chain.head ? `, block ${count(data.chain.head)}` : ""}</dd>
            <dt>Peer ID</dt><dd><code>${data.peer_id}</code></dd></dl></${Card}>
        </div>
      </div></div>`}</${Reading}>`;
}
