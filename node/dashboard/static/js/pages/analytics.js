// What came of the needs: how many succeed, what they cost, how long they take, who works well.
import { useRead } from "../api.js";
import { Bars, Columns } from "../charts.js";
import { count, ms, plural, span, usdc } from "../format.js";
import { html } from "../lib.js";
import { Card, Choices, Empty, PageHead, Reading, Score, Table, Tile, Tone, Who } from "../parts.js";
import { setParams } from "../routes.js";

const HOURS = [["", "24 h"], ["72", "3 days"], ["168", "7 days"]];
const LATENCIES = [["decide_ms", "To decide"], ["execute_ms", "To execute"], ["finalize_ms", "In all"]];
const rate = (share) => (share === null || share === undefined ? "–" : (100 * share).toFixed(share === 1 ? 0 : 1) + " %");

const leaders = (me) => [
  { name: "#", cell: (row) => html`<span class="rank num">${row.rank}</span>` },
  { name: "Node", cell: (row) => html`<${Who} did=${row.did} me=${me} />` },
  { name: "Reputation", cell: (row) => html`<${Score} value=${row.reputation} label="Reputation" />` },
  { name: "Accepted", wide: true, right: true, cell: (row) => html`<span class="num">${count(row.accepted)}</span>` },
  { name: "Failed", wide: 2, right: true, cell: (row) => html`<span class="num">${count(row.failed)}</span>` },
  { name: "Earned", right: true, cell: (row) => html`<span class="num nowrap">${usdc(row.earned.usdc)}</span>` },
];

function Latency({ latency }) {
  const rows = LATENCIES.flatMap(([key, name]) => ["p50", "p95", "p99"].map((each) => ({ name: `${name} ${each}`, value: latency[key][each] || 0, text: ms(latency[key][each]) })));
  return html`<${Bars} label="Latency" rows=${rows} />`;
}

export function Analytics({ at, overview }) {
  const hours = at.params.hours || "";
  const found = useRead("dashboard/analytics", { hours: hours || 24, limit: 20 }, { live: () => true, every: 5000 });
  const me = overview.data?.did;
  return html`<${PageHead} title="Analytics" sub="Counted by this node from its own journal, within seconds of what happens."
      actions=${html`<${Choices} label="Time" value=${hours} options=${HOURS} onChange=${(next) => setParams({ hours: next })} />`} />
    <${Reading} of=${found} rows=${8}>${(it) => {
      const { escrow, needs, tasks, challenges } = it;
      const rank = it.leaderboard.find((row) => row.did === it.me.did)?.rank;
      const columns = it.hours.map((hour) => ({ posted: hour.needs, finalized: hour.finalized, failed: hour.ended - hour.finalized }));
      return html`<div class="stack"><div class="tiles">
          <${Tile} name="Escrow success" value=${rate(escrow.success_rate)} note=${`${count(needs.finalized)} of ${count(needs.needs - needs.open)} that ended`} />
          <${Tile} name="Paid" value=${usdc(escrow.paid.usdc)} unit="USDC" note=${`${usdc(escrow.budget.usdc)} promised, ${usdc(escrow.returned.usdc)} returned`} />
          <${Tile} name="Tasks accepted" value=${count(tasks.accepted)} note=${`${plural(tasks.failed, "attempt")} failed`} />
          <${Tile} name="In all, median" value=${ms(it.latency.finalize_ms.p50)} note=${`p95 ${ms(it.latency.finalize_ms.p95)}`} />
          <${Tile} name="Challenges" value=${count(challenges.made)} note=${`${count(challenges.upheld)} upheld`} />
          <${Tile} name="My reputation" value=${it.me.reputation} unit="of 100" note=${rank ? `rank ${rank}` : "no work counted yet"} /></div>
        <div class="grid"><div class="w7 stack"><${Card} title="Needs" sub="by the hour they were posted" end=${html`<${Tone} of=${it.behind_s > 5 ? "warn" : "good"}>${it.behind_s > 1 ? `${span(it.behind_s)} behind` : "up to date"}</${Tone}>`}>
            <${Columns} hours=${columns} from=${hours ? span(3600 * Number(hours)) + " ago" : "24 h ago"} /></${Card}>
          <${Card} title="Leaderboard" sub="by reputation, then by how much they did" bare>${it.leaderboard.length ? html`<${Table} label="Leaderboard" columns=${leaders(me)} rows=${it.leaderboard} keyOf=${(row) => row.did} />`
            : html`<${Empty} icon="analytics" title="Nobody has worked yet">Nodes appear here with their first accepted or failed task.</${Empty}>`}</${Card}></div>
        <div class="w5 stack"><${Card} title="Latency">${it.latency.finalize_ms.count ? html`<${Latency} latency=${it.latency} />` : html`<p class="muted">No need has ended yet.</p>`}</${Card}>
          <${Card} title="Capabilities" sub="accepted tasks">${it.capabilities.length ? html`<${Bars} label="Capabilities" rows=${it.capabilities.slice(0, 12).map((each) => ({ name: each.name || each.capability, value: each.accepted, text: `${count(each.accepted)} · ${rate(each.success_rate)}` }))} />`
            : html`<p class="muted">None used yet.</p>`}</${Card}></div></div></div>`;
    }}</${Reading}>`;
}
