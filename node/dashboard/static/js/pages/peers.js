// Who is out there: a map by round trip, and what this node thinks of each.
import { bytes, count, ms, plural, span } from "../format.js";
import { html } from "../lib.js";
import { useRead } from "../api.js";
import { Ago, Card, Empty, PageHead, Reading, Score, Table, Tone, Who } from "../parts.js";
import { short } from "../format.js";

const MAP_MOST = 60;

/** Round trip to a share of the radius: 1 ms near the middle, a second at the edge. */
function distance(node) {
  if (!node.connected) return 1;
  const rtt = node.connected.rtt_ms ?? 50;
  return 0.3 + 0.45 * Math.min(1, Math.log10(1 + rtt) / 3);
}

function Map({ nodes, me }) {
  const others = nodes.filter((node) => !node.me).sort((a, b) => Number(!a.connected) - Number(!b.connected)).slice(0, MAP_MOST);
  const half = 150;
  const spots = others.map((node, at) => {
    const angle = (2 * Math.PI * at) / Math.max(1, others.length) - Math.PI / 3;
    const far = distance(node) * (half - 22);
    return { node, x: Math.cos(angle) * far * 1.55, y: Math.sin(angle) * far };
  });
  const connected = others.filter((node) => node.connected).length;
  return html`<figure class="map"><svg viewBox=${`${-half * 1.6} ${-half} ${half * 3.2} ${half * 2}`} role="img" aria-label=${`${connected} connected of ${plural(others.length, "other node")}; the nearer, the shorter the round trip`}>
    ${[0.45, 0.75].map((share) => html`<ellipse class="ring" rx=${share * (half - 22) * 1.55} ry=${share * (half - 22)} />`)}
    ${spots.map(({ node, x, y }) => node.connected && html`<line key=${node.did} class="tie" x1="0" y1="0" x2=${x} y2=${y} stroke-width=${0.8 + 1.8 * node.connected.score} />`)}
    ${spots.map(({ node, x, y }) => html`<g key=${node.did} class=${"spot" + (node.connected ? "" : " far") + (node.verifier ? " verifier" : "")} transform=${`translate(${x} ${y})`}><title>${node.did}</title>
      <circle r="9" />${node.verifier && html`<path d="M-3.500 0.200 -1 2.700 3.800 -2.600" />`}<text y="22" text-anchor="middle">${short(node.did).slice(0, 8)}</text></g>`)}
    <g class="spot own"><title>this node</title><circle r="13" /><text y="27" text-anchor="middle">this node</text></g></svg>
    <figcaption class="legend"><span><i class="open"></i>connected</span><span><i class="far"></i>known, not connected</span><span><i class="finalized"></i>verifier</span></figcaption></figure>`;
}

const columns = (me) => [
  { name: "Node", cell: (node) => html`<${Who} did=${node.did} me=${me} />` },
  { name: "Link", cell: (node) => node.me ? html`<span class="faint">–</span>` : node.connected
    ? html`<${Tone} of=${node.connected.state === "banned" ? "bad" : "good"}>${node.connected.rtt_ms === null ? "connected" : ms(node.connected.rtt_ms)}</${Tone}>` : html`<${Tone}>not connected</${Tone}>` },
  { name: "Reputation", wide: true, cell: (node) => html`<${Score} value=${node.reputation} label="Reputation" />` },
  { name: "Peer score", wide: 2, cell: (node) => node.connected ? html`<${Score} value=${Math.round(100 * node.connected.score)} label="Peer score" />` : html`<span class="faint">–</span>` },
  { name: "Role", cell: (node) => node.verifier ? html`<${Tone} of="accent">verifier</${Tone}>` : html`<span class="faint">${node.pool === "none" ? "worker" : node.pool}</span>` },
  { name: "Offers", wide: true, cell: (node) => node.offers.length ? html`<span class="tags">${node.offers.slice(0, 2).map((name) => html`<span class="tag" key=${name}>${name}</span>`)}${node.offers.length > 2 && html`<span class="faint">+${node.offers.length - 2}</span>`}</span>` : html`<span class="faint">nothing</span>` },
  { name: "Traffic", wide: true, right: true, cell: (node) => node.connected ? html`<span class="num nowrap">${bytes(node.connected.bytes_in)} in<br />${bytes(node.connected.bytes_out)} out</span>` : html`<span class="faint nowrap">heard <${Ago} ns=${node.heard_ns} /></span>` },
];

export function Peers() {
  const found = useRead("dashboard/mesh", null, { every: 5000 });
  return html`<${PageHead} title="Peers" sub="Everybody this node knows of, how near they are, and how they have done." />
    <${Reading} of=${found} rows=${8}>${(mesh) => {
      const others = mesh.nodes.filter((node) => !node.me);
      const connected = others.filter((node) => node.connected);
      const dropped = Object.entries(mesh.dropped || {});
      const longest = Math.max(0, ...connected.map((node) => node.connected.connected_s));
      return html`<div class="stack"><div class="grid"><div class="w7"><${Card} title="Map" sub="nearer means a shorter round trip">
          ${others.length ? html`<${Map} nodes=${mesh.nodes} me=${mesh.me} />` : html`<${Empty} icon="peers" title="Nobody else yet" command="swarmd invite">
            Invite a node: this prints a ticket, which <code>swarmd join</code> takes on the other host. If you expected somebody, <code>swarmd doctor net</code> says why nobody is found.</${Empty}>`}</${Card}></div>
        <div class="w5"><${Card} title="Connections"><dl class="pairs"><dt>Connected</dt><dd class="num">${count(connected.length)} of ${count(others.length)} known</dd>
          <dt>Longest</dt><dd>${longest ? span(longest) : "–"}</dd><dt>Peer ID</dt><dd><code>${mesh.peer_id}</code></dd>
          <dt>Listens at</dt><dd>${mesh.addrs.length ? mesh.addrs.slice(0, 6).map((addr) => html`<div><code>${addr}</code></div>`) : "nowhere"}</dd>
          <dt>Refused</dt><dd>${dropped.length ? dropped.map(([why, n]) => html`<div class="num">${why.replace(/-/g, " ")}: ${count(n)}</div>`) : "nothing"}</dd></dl></${Card}></div></div>
        <${Card} title="Nodes" bare><${Table} label="Nodes" columns=${columns(mesh.me)} rows=${mesh.nodes} keyOf=${(node) => node.did} /></${Card}></div>`;
    }}</${Reading}>`;
}
