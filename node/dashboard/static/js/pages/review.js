// What waits for a person, the most urgent first, each with what to do about it.
import { count } from "../format.js";
import { html } from "../lib.js";
import { useRead } from "../api.js";
import { Ago, Choices, Command, Empty, needHref, PageHead, Reading, Tone, Who } from "../parts.js";
import { setParams } from "../routes.js";

const TONES = { urgent: "bad", soon: "warn", note: "" };
const WORDS = { urgent: "Urgent", soon: "Soon", note: "For your notice" };
const COMMAND = /swarmd [a-z]+ [a-z]+(?: [\w.-]+)?|swarmd why [\w-]+/;

function Item({ item }) {
  const command = COMMAND.exec(item.fix);
  return html`<li class="card item"><div class="row"><${Tone} of=${TONES[item.urgency]}>${WORDS[item.urgency]}</${Tone}><span class="tag">${item.code}</span><span class="grow"></span><${Ago} ns=${item.at_ns} /></div>
    <h2>${item.need ? html`<a href=${needHref(item.need)}>${item.title}</a>` : item.title}</h2>
    <p>${item.detail}</p>${item.who && html`<p class="muted"><${Who} did=${item.who} /></p>`}
    <p class="muted">${item.fix}</p>${command && html`<${Command} text=${command[0]} />`}</li>`;
}

export function Review({ at }) {
  const found = useRead("dashboard/review", null, { live: () => true, every: 10000 });
  const wanted = at.params.urgency || "";
  return html`<${PageHead} title="Review" sub="Matters that wait for a person: challenges, needs that are stuck or failed, agents that are down, peers that contradicted themselves." />
    <${Reading} of=${found} rows=${5}>${({ items, total }) => {
      const shown = wanted ? items.filter((item) => item.urgency === wanted) : items;
      const number = (urgency) => items.filter((item) => item.urgency === urgency).length;
      return html`<div class="toolbar"><${Choices} label="Urgency" value=${wanted} onChange=${(next) => setParams({ urgency: next })}
          options=${[["", `All ${count(total)}`], ...Object.keys(WORDS).map((key) => [key, `${WORDS[key]} ${number(key)}`])]} /></div>
        ${shown.length ? html`<ul class="items">${shown.map((item, index) => html`<${Item} key=${item.code + item.need + item.task + item.who + index} item=${item} />`)}</ul>`
          : html`<div class="card"><${Empty} icon="check" title="Nothing waits for you">Challenges of your work, stuck needs and failing agents appear here, with what to do about each.</${Empty}></div>`}`;
    }}</${Reading}>`;
}
