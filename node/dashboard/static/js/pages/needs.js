// All needs, a page at a time; the daemon filters and counts.
import { usdc } from "../format.js";
import { html } from "../lib.js";
import { useRead } from "../api.js";
import { Ago, Badge, Bar, Choices, Empty, needHref, PageHead, Pager, Reading, SearchField, Table, Who } from "../parts.js";
import { setParams } from "../routes.js";

const LIMIT = 50;
const STATES = [["", "All"], ["active", "Active"], ["finalized", "Finalized"], ["refunded", "Refunded"], ["expired", "Expired"]];

const columns = (me) => [
  { name: "Need", title: true, cell: (need) => html`<a href=${needHref(need.need)}>${need.title || need.need}</a><span>${need.waiting_for ? `waits for ${need.waiting_for}` : need.need}</span>` },
  { name: "State", cell: (need) => html`<${Badge} state=${need.state} />` },
  { name: "Tasks", wide: true, cell: (need) => html`<${Bar} part=${need.done} of=${need.tasks} label="Tasks done" />` },
  { name: "Owner", wide: true, cell: (need) => html`<${Who} did=${need.owner} me=${me} />` },
  { name: "Paid of budget", wide: true, right: true, cell: (need) => html`<span class="num nowrap">${usdc(need.paid)} <span class="faint">of ${usdc(need.budget)}</span></span>` },
  { name: "Posted", right: true, cell: (need) => html`<${Ago} ns=${need.created_ns} />` },
];

export function Needs({ at, overview }) {
  const { state = "", q = "", mine = "", offset = "0" } = at.params;
  const me = overview.data?.did;
  const start = Math.max(0, Math.floor(Number(offset)) || 0);
  const waits = mine && !me;
  const found = useRead(waits ? null : "dashboard/needs", { state, q, owner: mine ? me : "", offset: start, limit: LIMIT }, { live: () => true, every: 30000 });
  const filtered = state || q || mine;
  return html`<${PageHead} title="Needs" sub="What somebody asks for, and how far it has come." />
    <div class="toolbar"><${SearchField} value=${q} label="Title or id of a need" onChange=${(text) => setParams({ q: text, offset: "" }, { replace: true })} />
      <${Choices} label="State" value=${state} options=${STATES} onChange=${(next) => setParams({ state: next, offset: "" })} />
      <${Choices} label="Owner" value=${mine} options=${[["", "Everybody's"], ["1", "Mine"]]} onChange=${(next) => setParams({ mine: next, offset: "" })} /></div>
    <section class="card" aria-label="Needs" aria-busy=${String(found.loading)}><${Reading} of=${found} rows=${10}>${(page) =>
      page.needs.length
        ? html`<${Table} label="Needs" columns=${columns(me)} rows=${page.needs} keyOf=${(need) => need.need} />
          <${Pager} offset=${page.offset} limit=${page.limit} total=${page.total} onMove=${(next) => setParams({ offset: next || "" })}
            note=${page.searched === "live" ? "without needs that a checkpoint closed" : ""} />`
        : filtered || start
          ? html`<${Empty} icon="search" title="No need fits">Try another state, fewer letters, or everybody's needs.
              Needs that a checkpoint closed are found by their whole id.<br /><a href=${q.startsWith("need-") ? needHref(q) : "#/needs"}>${q.startsWith("need-") ? `Open ${q}` : "Show all needs"}</a></${Empty}>`
          : html`<${Empty} icon="needs" title="No needs yet" command="swarmd need post text.wordcount --text text=@README.md --budget 1.00">
              A need says what is wanted and locks the money for it.</${Empty}>`}</${Reading}></section>`;
}
