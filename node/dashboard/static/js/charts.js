// Small drawings of numbers. Each has its numbers in words too.
import { html } from "./lib.js";
import { count } from "./format.js";

/** The last day by the hour: finalized, failed, still open. */
export function Columns({ hours, from = "24 h ago" }) {
  const top = Math.max(4, ...hours.map((hour) => hour.posted));
  const all = hours.reduce((sum, hour) => sum + hour.posted, 0);
  const done = hours.reduce((sum, hour) => sum + hour.finalized, 0);
  const failed = hours.reduce((sum, hour) => sum + hour.failed, 0);
  const high = 100;
  const step = 100 / hours.length;
  const part = (hour, at) => {
    const scale = high / top;
    let y = high;
    return [["finalized", hour.finalized], ["failed", hour.failed], ["open", hour.posted - hour.finalized - hour.failed]].map(([kind, n]) => {
      const tall = n * scale;
      y -= tall;
      return n > 0 && html`<rect class=${"col-" + kind} x=${at * step + step * 0.16} y=${y} width=${step * 0.68} height=${tall} />`;
    });
  };
  return html`<figure class="columns"><svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img"
      aria-label=${`${count(all)} needs since ${from}: ${count(done)} finalized, ${count(failed)} refunded or expired`}>
      ${[0, 0.5].map((share) => html`<line class="rule" x1="0" x2="100" y1=${high * share + 0.25} y2=${high * share + 0.25} vector-effect="non-scaling-stroke" />`)}
      ${hours.map(part)}<line class="base" x1="0" x2="100" y1="100" y2="100" vector-effect="non-scaling-stroke" /></svg>
    <figcaption><span>${from}</span><span class="legend"><span><i class="finalized"></i>finalized ${count(done)}</span><span><i class="failed"></i>failed ${count(failed)}</span>
      <span><i class="open"></i>in work ${count(all - done - failed)}</span></span><span>now</span></figcaption></figure>`;
}

/** [{name, value, text}] as bars on one scale. */
export function Bars({ rows, label }) {
  const top = Math.max(1e-9, ...rows.map((row) => row.value));
  return html`<ul class="bars" aria-label=${label}>${rows.map((row) => html`<li key=${row.name}><span class="clip">${row.name}</span>
    <span class="bar"><i style=${{ width: `${Math.max(row.value ? 1 : 0, (100 * row.value) / top)}%` }}></i></span><span class="num right">${row.text}</span></li>`)}</ul>`;
}
