// What this node lets in: the policy in force, its gates, and its verdicts, the latest first.
import { count, percent, plural } from "../format.js";
import { html, useEffect, useState } from "../lib.js";
import { read, useRead } from "../api.js";
import { KindMark } from "../kinds.js";
import { Bars } from "../charts.js";
import { Ago, Card, Choices, Copy, Empty, needHref, PageHead, Reading, Table, Tile, Tone, Who } from "../parts.js";
import { setParams } from "../routes.js";

const GATES = [["preflight", "Before we speak"], ["ingress", "What comes in"], ["commit", "Before we attest"]];

const columns = (me) => [
  { name: "Verdict", cell: (row) => row.allow ? html`<${Tone} of="good">allowed</${Tone}>` : html`<${Tone} of="bad">denied</${Tone}>` },
  { name: "Statement", title: true, cell: (row) => html`<a href=${needHref(row.need)}>${row.text}</a>
    <span>${row.allow ? row.need : row.reasons.join(", ") || "no reason given"}</span>` },
  { name: "Kind", wide: true, cell: (row) => html`<${KindMark} kind=${row.kind} />` },
  { name: "Said by", wide: true, cell: (row) => html`<${Who} did=${row.sender} me=${me} />` },
  { name: "Gas", wide: true, right: true, cell: (row) => html`<span class="num">${count(row.gas)}</span>` },
  { name: "When", right: true, cell: (row) => html`<${Ago} ns=${row.at_ns} />` },
];

function Verdicts({ denied, me }) {
  const found = useRead("dashboard/verdicts", { denied: denied ? "true" : "", limit: 50 }, { live: () => true });
  const [older, setOlder] = useState({ rows: [], next: undefined, busy: false });
  useEffect(() => setOlder({ rows: [], next: undefined, busy: false }), [denied]);
  return html`<${Reading} of=${found} rows=${8}>${(page) => {
    const seen = new Set(page.verdicts.map((row) => row.id));
    const rows = [...page.verdicts, ...older.rows.filter((row) => !seen.has(row.id))];
    const next = older.next === undefined ? page.next : older.next;
    const more = async () => {
      setOlder({ ...older, busy: true });
      const got = await read("dashboard/verdicts", { denied: denied ? "true" : "", limit: 50, before: next }).catch(() => null);
      setOlder(got ? { rows: [...older.rows, ...got.verdicts], next: got.next, busy: false } : { ...older, busy: false });
    };
    return html`${rows.length ? html`<${Table} label="Verdicts" columns=${columns(me)} rows=${rows} keyOf=${(row) => row.id} />`
      : html`<${Empty} icon="policy" title=${denied ? "Nothing was denied lately" : "No verdicts yet"}>${denied ? "Everything that came in is allowed by the policy in force." : "Each statement that comes in is judged by your policy before anything else happens."}</${Empty}>`}
      ${next !== null && next !== undefined && html`<div class="pager"><span>${plural(rows.length, "verdict")} so far</span><span class="end">
        <button type="button" class="button" disabled=${older.busy} onClick=${more}>${denied ? "Look further back" : "Older"}</button></span></div>`}`;
  }}</${Reading}>`;
}

export function Policy({ at, overview }) {
  const denied = at.params.denied === "1";
  const it = overview.data;
  return html`<${PageHead} title="Policy" sub="What this node says, takes in and attests is judged by its operator's policy, on this host." />
    <div class="stack"><${Reading} of=${overview} rows=${3}>${(data) => {
      const sum = (gate) => [data.gates[gate + "-allow"] || 0, data.gates[gate + "-deny"] || 0];
      const more = Object.entries(data.gates).filter(([name]) => name.startsWith("digests-"));
      return html`<div class="tiles">${GATES.map(([gate, name]) => {
        const [allow, deny] = sum(gate);
        return html`<${Tile} key=${gate} name=${name} value=${count(allow + deny)} unit="verdicts" note=${deny ? `${count(deny)} denied (${percent(deny, allow + deny)})` : "none denied"} />`;
      })}<${Tile} name="In force" value=${html`<code class="hash">${data.policy_hash.slice(0, 10)}</code>`} note=${html`since this start <${Copy} text=${data.policy_hash} label="Copy the policy's hash" />`} /></div>
        ${more.length > 0 && html`<${Card} title="Others' digests" sub="verdicts that senders claim, computed again here"><${Bars} label="Digests" rows=${more.map(([name, n]) => ({ name: name.slice(8).replace(/-/g, " "), value: n, text: count(n) }))} /></${Card}>`}`;
    }}</${Reading}>
    <${Card} title="Verdicts" bare end=${html`<${Choices} label="Verdicts" value=${denied ? "1" : ""} options=${[["", "All"], ["1", "Denied"]]} onChange=${(next) => setParams({ denied: next })} />`}>
      <${Verdicts} denied=${denied} me=${it?.did} /></${Card}></div>`;
}
