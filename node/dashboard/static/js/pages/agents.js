// The programs of this host that work for the mesh.
import { count, plural, usdc } from "../format.js";
import { html } from "../lib.js";
import { useRead } from "../api.js";
import { Command, Empty, PageHead, Reading, Tone } from "../parts.js";

function status(agent) {
  if (!agent.enabled) return ["", "off"];
  if (!agent.available) return ["bad", "takes no work"];
  return agent.running ? ["busy", `${plural(agent.running, "job")} running`] : ["good", "ready"];
}

function Agent({ agent }) {
  const [tone, word] = status(agent);
  const failures = Object.entries(agent.failed || {});
  const failed = failures.reduce((sum, [, n]) => sum + n, 0);
  return html`<section class="card agent" aria-label=${`Agent ${agent.name}`}><header><h2 class="clip">${agent.name}</h2><span class="end"><${Tone} of=${tone}>${word}</${Tone}></span></header>
    <div class="body"><dl class="facts"><div><dt>Done</dt><dd>${count(agent.done)}</dd></div><div><dt>Failed</dt><dd>${count(failed)}</dd></div><div><dt>At a time</dt><dd>${count(agent.concurrency)}</dd></div></dl>
      <ul class="offers" aria-label="What it can do">${(agent.capabilities || []).map((each) => html`<li key=${each.name}><span class="tag">${each.name}</span><span class="num">${usdc(each.price)} <span class="faint">USDC</span></span></li>`)}</ul>
      ${failures.length > 0 && html`<p class="faint">${failures.map(([code, n]) => `${code}: ${n}`).join(", ")}</p>`}
      ${agent.kind === "command" ? html`<p class="clip faint" title=${(agent.argv || []).join(" ")}><code>${(agent.argv || []).join(" ")}</code></p>` : html`<p class="faint">${agent.kind} process</p>`}
      ${agent.enabled && !agent.available && agent.kind === "command" && html`<${Command} text=${`swarmd agent stderr ${agent.name}`} />`}</div></section>`;
}

export function Agents() {
  const found = useRead("agents", null, { every: 4000, live: (event) => ["CLAIM", "COMMIT", "ATTEST"].includes(event.kind) });
  return html`<${PageHead} title="Agents" sub="The programs of this host that work for the mesh, what they can do and what they ask for it." />
    <${Reading} of=${found} rows=${5}>${({ agents }) => agents.length
      ? html`<div class="cards">${agents.map((agent) => html`<${Agent} key=${agent.name} agent=${agent} />`)}</div>`
      : html`<div class="card"><${Empty} icon="agents" title="No agents yet" command="swarmd agent add wc --capability text.wordcount --price 0.02 -- python wordcount.py">
          An agent is any program that reads JSON and writes JSON. This node earns when its agents' work is accepted.</${Empty}></div>`}</${Reading}>`;
}
