// Agreements between two: what was offered, what was answered, where the money is.
import { useRead } from "../api.js";
import { ago, plural, span, stateWord, usdc, when } from "../format.js";
import { html } from "../lib.js";
import { Ago, Badge, Bar, Card, Choices, Copy, Empty, PageHead, Reading, Table, Tile, Tone, Who } from "../parts.js";
import { setParams } from "../routes.js";

const WAY = ["offered", "negotiating", "accepted", "funded", "submitted", "verified", "released"];
const ENDS = ["released", "resolved", "refunded", "expired"];
const STATES = [["", "All"], ["negotiating", "Negotiating"], ["funded", "Funded"], ["disputed", "Disputed"], ["released", "Released"]];
const MAX = 200;
const href = (id) => "#/escrows/" + encodeURIComponent(id);
const ours = (event) => !event.need || event.need.startsWith("escrow-");

const columns = (me) => [
  { name: "Escrow", title: true, cell: (row) => html`<a href=${href(row.escrow)}>${row.title || row.escrow}</a><span>${row.waits_for.length ? `waits for ${row.waits_for.join(", ")}` : row.reason || row.escrow}</span>` },
  { name: "State", cell: (row) => html`<${Badge} state=${row.state} />` },
  { name: "Part", wide: true, cell: (row) => html`<${Tone} plain>${row.role}</${Tone}>` },
  { name: "Buyer", wide: true, cell: (row) => html`<${Who} did=${row.buyer} me=${me} />` },
  { name: "Seller", wide: true, cell: (row) => html`<${Who} did=${row.seller} me=${me} />` },
  { name: "USDC", right: true, cell: (row) => html`<span class="num nowrap">${usdc(row.amount)}</span>` },
];

export function Escrows({ at, overview }) {
  const { state = "", all = "" } = at.params;
  const me = overview.data?.did;
  const found = useRead("dashboard/escrows", { state, all: all ? "true" : "", limit: MAX }, { live: ours, every: 30000 });
  return html`<${PageHead} title="Escrows" sub="Agreements between two nodes: terms are offered and answered, money is locked, work is delivered, scored and paid." />
    <div class="toolbar"><${Choices} label="State" value=${state} options=${STATES} onChange=${(next) => setParams({ state: next })} />
      <${Choices} label="Whose" value=${all} options=${[["", "With this node"], ["1", "All known"]]} onChange=${(next) => setParams({ all: next })} /></div>
    <section class="card" aria-label="Escrows"><${Reading} of=${found} rows=${8}>${(page) => page.escrows.length
      ? html`<${Table} label="Escrows" columns=${columns(me)} rows=${page.escrows} keyOf=${(row) => row.escrow} />
        ${page.total > page.escrows.length && html`<div class="pager">${page.escrows.length} of ${page.total}, by what is at stake. Narrow them by state.</div>`}`
      : state || all ? html`<${Empty} icon="search" title="No escrow fits"><a href="#/escrows">Show those with this node</a></${Empty}>`
        : html`<${Empty} icon="escrow" title="No escrows yet" command="swarmd escrow create --help">
          Needs lock their money by themselves. An escrow is for work that two nodes agree on between them, with terms, milestones and a review.</${Empty}>`}</${Reading}></section>`;
}

function Steps({ state }) {
  const at = WAY.indexOf(state);
  const way = at >= 0 ? WAY : ["offered", "accepted", "funded", state];
  const now = at >= 0 ? at : way.length - 1;
  return html`<ol class="steps" aria-label="How far it is">${way.map((name, index) => html`<li key=${name} class=${index < now ? "past" : index === now ? "now" : ""} aria-current=${index === now ? "step" : undefined}>${stateWord(name)}</li>`)}</ol>`;
}

/** What changed from one offer's terms to the next, in words. */
function changes(terms, before) {
  if (!before) return [];
  const said = [];
  if (terms.amount !== before.amount) said.push(`${usdc(before.amount)} → ${usdc(terms.amount)} USDC`);
  if (terms.deadline_ns !== before.deadline_ns) said.push(`due ${when(terms.deadline_ns)}`);
  if (terms.review_s !== before.review_s) said.push(`review ${span(terms.review_s)}`);
  if (terms.milestones.length !== before.milestones.length) said.push(plural(terms.milestones.length, "milestone"));
  if (terms.spec !== before.spec) said.push("another specification");
  return said;
}

function Thread({ it, me }) {
  return html`<${Card} title="Negotiation" sub=${plural(it.offers.length, "offer")} bare>${it.offers.length ? html`<ol class="thread">${it.offers.map((offer, index) => {
    const moved = changes(offer.terms, it.offers[index - 1]?.terms);
    return html`<li key=${offer.offer} class=${"say" + (offer.by === me ? " own" : "")}><header><${Who} did=${offer.by} me=${me} size=${15} />
        <span>${offer.answers ? "counters" : "offers"}</span><${Ago} ns=${offer.at_ns} />${offer.accepted_by.length > 0 && html`<${Tone} of="good">accepted</${Tone}>`}</header>
      <b class="num">${usdc(offer.amount)} USDC</b> <span class="muted">for ${plural(offer.terms.milestones.length, "milestone")}, stands until ${when(offer.expires_ns)}</span>
      ${moved.length > 0 && html`<p class="muted">${moved.join(" · ")}</p>`}${offer.note && html`<p>${offer.note}</p>`}</li>`;
  })}</ol>` : html`<${Empty} icon="escrow" title="No offers yet">The first offer begins the negotiation.</${Empty}>`}</${Card}>`;
}

function Milestones({ it, me }) {
  if (!it.milestones.length) return null;
  const paid = it.milestones.filter((each) => each.state === "paid").length;
  return html`<${Card} title="Milestones" end=${html`<${Bar} part=${paid} of=${it.milestones.length} label="Milestones paid" />`} bare><ul class="lines">${it.milestones.map((each) => html`<li key=${each.name}><div class="line">
    <span class="grow"><b>${each.name}</b> <span class="muted num">${usdc(each.amount)} USDC</span>${each.because && html`<div class="faint">${each.because}</div>`}
      ${each.delivery && html`<div><code class="faint">${each.delivery.cid}</code> <${Ago} ns=${each.delivery.at_ns} /></div>${each.delivery.note && html`<div>${each.delivery.note}</div>`}
        ${each.delivery.scores.map((score) => html`<div key=${score.by}><${Who} did=${score.by} me=${me} size=${15} /> scores ${score.score}${score.reason && html`<span class="faint">: ${score.reason}</span>`}</div>`)}`}</span>
    <${Tone} of=${{ paid: "good", approved: "good", submitted: "busy", open: "" }[each.state] ?? "warn"}>${each.state}</${Tone}></div></li>`)}</ul></${Card}>`;
}

function Dispute({ of, me }) {
  if (!of) return null;
  return html`<${Card} title="Dispute" end=${html`<${Tone} of="bad">open to the panel</${Tone}>`}><dl class="pairs">${of.claims.map((claim) => html`<dt><${Who} did=${claim.by} me=${me} /></dt><dd>${claim.reason}
      ${claim.evidence.map((cid) => html`<div key=${cid}><code class="faint">${cid}</code></div>`)}</dd>`)}
    ${of.votes.map((vote) => html`<dt><${Who} did=${vote.by} me=${me} /></dt><dd>votes ${(vote.seller_bp / 100).toFixed(0)} % to the seller${vote.reason && `: ${vote.reason}`}</dd>`)}</dl></${Card}>`;
}

function Terms({ terms, me }) {
  return html`<${Card} title="Terms"><dl class="pairs">${terms.spec && html`<dt>Wanted</dt><dd>${terms.spec}</dd>`}<dt>Amount</dt><dd class="num">${usdc(terms.amount)} USDC</dd>
    <dt>Deadline</dt><dd>${when(terms.deadline_ns)}</dd><dt>Review</dt><dd>${span(terms.review_s)}</dd>
    ${terms.scorers.length > 0 && html`<dt>Scorers</dt><dd>${terms.scorers.map((did) => html`<div key=${did}><${Who} did=${did} me=${me} /></div>`)}${terms.score_quorum} must agree</dd>`}
    ${terms.panel.length > 0 && html`<dt>Panel</dt><dd>${terms.panel.map((did) => html`<div key=${did}><${Who} did=${did} me=${me} /></div>`)}${terms.quorum} must agree, within ${span(terms.panel_s)}</dd>`}
    ${terms.after.map((each) => html`<dt>After</dt><dd key=${each.name}>${each.name}, said by <${Who} did=${each.by} me=${me} /></dd>`)}</dl></${Card}>`;
}

export function EscrowPage({ at, overview }) {
  const me = overview.data?.did;
  const found = useRead("dashboard/escrows/" + encodeURIComponent(at.id), null, { live: (event) => !event.need || event.need === at.id });
  const it = found.data;
  const crumb = { href: "#/escrows", text: "Escrows" };
  if (!it) return html`<${PageHead} title=${at.id} crumb=${crumb} /><div class="card"><${Reading} of=${found} rows=${6}>${() => null}</${Reading}></div>`;
  const next = ENDS.includes(it.state) ? it.reason || "It has ended." : it.waits_for.length ? `Waits for ${it.waits_for.join(", ")}.` : "";
  return html`<${PageHead} crumb=${crumb} title=${it.title || it.escrow} badge=${html`<${Badge} state=${it.state} />`}
      sub=${html`<span class="headline"><code>${it.escrow}</code><${Copy} text=${it.escrow} label="Copy the escrow's id" />${next}</span>`} />
    <div class="stack"><${Steps} state=${it.state} /><div class="tiles">
      <${Tile} name="Amount" value=${usdc(it.amount)} unit="USDC" note=${it.covered ? "covered" : "not covered yet"} />
      <${Tile} name="Held" value=${usdc(it.held)} unit="USDC" note="in escrow now" />
      <${Tile} name="Paid" value=${usdc(it.paid)} unit="USDC" note=${`fee ${usdc(it.fee)}, returned ${usdc(it.returned)}`} />
      <${Tile} name="Deadline" value=${it.deadline_ns ? ago(it.deadline_ns) : "–"} note=${it.deadline_ns ? when(it.deadline_ns) : "it has ended"} /></div>
    <div class="grid"><div class="w8 stack">${it.offers ? html`<${Thread} it=${it} me=${me} />` : html`<${Card} title="Negotiation"><p class="muted">A checkpoint closed this escrow: its offers are in the journal, and not in memory.</p></${Card}>`}
        ${it.milestones && html`<${Milestones} it=${it} me=${me} />`}<${Dispute} of=${it.dispute} me=${me} /></div>
      <div class="w4 stack"><${Card} title="Parties"><dl class="pairs">${["buyer", "seller"].map((role) => html`<dt key=${role}>${stateWord(role)}</dt><dd><${Who} did=${it[role]} me=${me} />
        ${it.reputation[role] !== undefined && html`<div class="faint">reputation ${it.reputation[role]} of 100</div>`}</dd>`)}</dl></${Card}>
        ${it.terms && html`<${Terms} terms=${it.terms} me=${me} />`}</div></div></div>`;
}
