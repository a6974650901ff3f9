// Money: what this node has, what moved, and what went to the chain.
import { count, plural, usdc } from "../format.js";
import { html } from "../lib.js";
import { useRead } from "../api.js";
import { Ago, Badge, Card, Copy, Empty, needHref, PageHead, Pager, Reading, Score, Table, Tile, Tone, Who } from "../parts.js";
import { setParams } from "../routes.js";

const LIMIT = 25;
const WORDS = { locked: "Locked for", returned: "Returned from", earned: "Earned with" };

const lines = [
  { name: "What", title: true, cell: (line) => html`<a href=${needHref(line.need)}>${WORDS[line.what]} ${line.task ? `${line.task} of ` : ""}${line.title || line.need}</a><span>${line.need}</span>` },
  { name: "Escrow", wide: true, cell: (line) => html`<${Badge} state=${line.state} />` },
  { name: "When", wide: true, right: true, cell: (line) => html`<${Ago} ns=${line.at_ns} />` },
  { name: "USDC", right: true, cell: (line) => html`<span class=${"num nowrap amount " + line.what}>${line.what === "locked" ? usdc(line.amount) : "+" + usdc(line.amount)}</span>` },
];

const accounts = (me) => [
  { name: "Account", cell: (row) => row.person ? html`<${Who} did=${row.did} me=${me} />` : html`<code>${row.did}</code>` },
  { name: "Reputation", wide: true, cell: (row) => row.person ? html`<${Score} value=${row.reputation} label="Reputation" />` : html`<span class="faint">–</span>` },
  { name: "Earned", wide: true, right: true, cell: (row) => html`<span class="num">${usdc(row.earned)}</span>` },
  { name: "Locked", wide: true, right: true, cell: (row) => html`<span class="num">${usdc(row.locked)}</span>` },
  { name: "Available", right: true, cell: (row) => html`<span class="num">${usdc(row.available)}</span>` },
];

const anchors = [
  { name: "Transaction", cell: (row) => row.tx_hash ? html`<span class="who"><code>${row.tx_hash.slice(0, 10)}…</code><${Copy} text=${row.tx_hash} label="Copy the transaction" /></span>` : html`<${Tone} of="busy">on its way</${Tone}>` },
  { name: "Needs", cell: (row) => html`<span class="tags">${row.needs.slice(0, 1).map((need) => html`<a key=${need} class="tag" href=${needHref(need)} title=${need}>${need.slice(0, 13)}…</a>`)}${row.needs.length > 1 && html`<span class="faint">+${row.needs.length - 1}</span>`}</span>` },
  { name: "Receipts", wide: true, right: true, cell: (row) => html`<span class="num">${count(row.receipts)}</span>` },
  { name: "Block", wide: true, right: true, cell: (row) => row.block ? html`<span class="num">${count(row.block)}</span>` : html`<span class="faint">–</span>` },
];

export function Ledger({ at, overview }) {
  const me = overview.data?.did;
  const offset = Math.max(0, Math.floor(Number(at.params.offset)) || 0);
  const statement = useRead("dashboard/statement", { offset, limit: LIMIT }, { live: () => true });
  const settled = useRead("dashboard/anchors", null, { live: () => true, every: 10000 });
  const known = useRead("dashboard/accounts", { limit: 50 }, { live: () => true });
  return html`<${PageHead} title="Ledger" sub="Money is locked when a need is posted, and moves when a committee accepts a result." />
    <div class="stack"><${Reading} of=${overview} rows=${2}>${({ balance }) => html`<div class="tiles">
        <${Tile} name="Available" value=${usdc(balance.available)} unit="USDC" note="can be spent now" />
        <${Tile} name="Locked" value=${usdc(balance.locked)} unit="USDC" note="in escrow for your needs" />
        <${Tile} name="Earned" value=${usdc(balance.earned)} unit="USDC" note="by your agents" />
        <${Tile} name="Spent" value=${usdc(balance.spent)} unit="USDC" note=${`${plural(balance.entries, "signed entry").replace("entrys", "entries")}`} /></div>`}</${Reading}>
      <div class="grid"><div class="w7"><${Card} title="Statement" sub="what moved on this node's account" bare><${Reading} of=${statement} rows=${6}>${(page) => page.lines.length
          ? html`<${Table} label="Statement" columns=${lines} rows=${page.lines} keyOf=${(line) => line.what + line.need + line.task} />
            <${Pager} offset=${page.offset} limit=${page.limit} total=${page.total} onMove=${(next) => setParams({ offset: next || "" })} />`
          : html`<${Empty} icon="ledger" title="Nothing has moved yet">Post a need, or let an agent work: each lock and each payment is a line here.</${Empty}>`}</${Reading}></${Card}></div>
      <div class="w5"><${Card} title="Settlement" sub="receipts anchored on the chain" bare><${Reading} of=${settled} rows=${4}>${(page) => html`
          <div class="body"><dl class="pairs"><dt>Chain</dt><dd>${page.chain.kind || "none"} ${page.chain.chain_id || ""} <${Tone} of=${page.chain.trouble ? "bad" : "good"}>${page.chain.trouble || page.chain.state || "unknown"}</${Tone}></dd>
            ${page.chain.error && html`<dt>Error</dt><dd>${page.chain.error}</dd>`}
            ${page.chain.head ? html`<dt>Head</dt><dd class="num">${count(page.chain.head)}</dd>` : null}
            ${page.chain.account && html`<dt>Account</dt><dd><code>${page.chain.account}</code></dd>`}
            <dt>Waiting</dt><dd class="num">${plural(page.waiting, "receipt")}</dd></dl></div>
          ${page.anchors.length ? html`<${Table} label="Anchors" columns=${anchors} rows=${page.anchors} keyOf=${(row) => row.anchor} />`
            : html`<${Empty} icon="ledger" title="Nothing anchored yet">Receipts of needs you own go to the chain together, a few seconds after they end.</${Empty}>`}`}</${Reading}></${Card}></div></div>
      <${Card} title="Accounts" sub="of everybody, by what they earned" bare><${Reading} of=${known} rows=${5}>${(page) => html`<${Table} label="Accounts" columns=${accounts(me)} rows=${page.accounts} keyOf=${(row) => row.did} />
        <div class="pager"><span class="num">${usdc(page.supply)} USDC in all accounts and escrows together</span></div>`}</${Reading}></${Card}></div>`;
}
