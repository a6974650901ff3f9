// The frame: navigation, keys, theme, and what is shown when nobody is logged in or nobody answers.
import { link, read, readAhead, useRead } from "./api.js";
import { html, render, useEffect, useRef, useState, useStore } from "./lib.js";
import { connect, disconnect, streaming } from "./live.js";
import { Icon, Mark } from "./icons.js";
import { Empty, PageHead } from "./parts.js";
import { go, place } from "./routes.js";
import { Agents } from "./pages/agents.js";
import { Analytics } from "./pages/analytics.js";
import { EscrowPage, Escrows } from "./pages/escrows.js";
import { Ledger } from "./pages/ledger.js";
import { NeedPage } from "./pages/need.js";
import { Needs } from "./pages/needs.js";
import { Overview } from "./pages/overview.js";
import { Peers } from "./pages/peers.js";
import { Policy } from "./pages/policy.js";
import { Review } from "./pages/review.js";

// key: what to press after g.
const PAGES = [
  { id: "overview", name: "Overview", key: "o", page: Overview },
  { id: "needs", name: "Needs", key: "n", page: Needs, one: NeedPage },
  { id: "escrows", name: "Escrows", key: "e", icon: "escrow", page: Escrows, one: EscrowPage },
  { id: "review", name: "Review", key: "r", page: Review },
  { id: "peers", name: "Peers", key: "p", title: "Mesh", page: Peers },
  { id: "agents", name: "Agents", key: "a", page: Agents },
  { id: "policy", name: "Policy", key: "v", page: Policy },
  { id: "ledger", name: "Ledger", key: "l", title: "Money", page: Ledger },
  { id: "analytics", name: "Analytics", key: "y", page: Analytics },
];

function Missing() {
  return html`<${PageHead} title="No such page" /><div class="card"><${Empty} icon="search" title="There is nothing here"><a href="#/overview">Go to the overview</a></${Empty}></div>`;
}

/** The component of a place. */
function pageAt(at) {
  const entry = PAGES.find((each) => each.id === at.page);
  return (at.id ? entry?.one || entry?.page : entry?.page) || Missing;
}

function toggleTheme() {
  const root = document.documentElement;
  const next = root.dataset.theme === "dark" ? "light" : "dark";
  root.dataset.theme = next;
  try {
    localStorage.setItem("swarmd-theme", next);
  } catch {
    // It holds for this visit then.
  }
}

function useTheme() {
  const [theme, set] = useState(document.documentElement.dataset.theme);
  useEffect(() => {
    const watcher = new MutationObserver(() => set(document.documentElement.dataset.theme));
    watcher.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    return () => watcher.disconnect();
  }, []);
  return theme;
}

const LIVE = { on: ["on", "Live"], wait: ["wait", "Connecting"], off: ["off", "Not live"] };

function LiveDot() {
  const found = useStore(streaming);
  const [kind, word] = LIVE[found];
  return html`<span class=${"live " + kind} role="status"><i></i>${word}</span>`;
}

function Count({ page, overview }) {
  if (!overview) return null;
  if (page === "review") {
    const { urgent, soon } = overview.review;
    if (!urgent && !soon) return null;
    return html`<span class=${"count " + (urgent ? "bad" : "warn")} aria-label=${`${urgent + soon} open`}>${urgent + soon}</span>`;
  }
  if (page === "needs" && overview.active) return html`<span class="count" aria-label=${`${overview.active} active`}>${overview.active}</span>`;
  return null;
}

function Side({ open, close, at, overview }) {
  const theme = useTheme();
  return html`<aside class=${"side" + (open ? " open" : "")} id="side">
    <a class="brand" href="#/overview" onClick=${close}><${Mark} /><div class="grow"><b>swarmd</b><span class="clip">${overview ? overview.mesh.name : " "}</span></div></a>
    <nav class="nav" aria-label="Pages">
      ${PAGES.map((page) => html`${page.title && html`<div class="nav-title">${page.title}</div>`}
        <a href=${"#/" + page.id} aria-current=${at.page === page.id ? "page" : undefined} onClick=${close}>
          <${Icon} name=${page.icon || page.id} />${page.name}<${Count} page=${page.id} overview=${overview} /></a>`)}
    </nav>
    <div class="side-foot">
      <div class="row"><${LiveDot} /><span class="grow"></span>
        <button type="button" class="button quiet" aria-label="Keyboard shortcuts" title="Keyboard shortcuts (?)" onClick=${() => showKeys()}><${Icon} name="keys" /></button>
        <button type="button" class="button quiet" aria-label=${theme === "dark" ? "Light theme" : "Dark theme"} title="Theme (t)" onClick=${toggleTheme}>
          <${Icon} name=${theme === "dark" ? "sun" : "moon"} /></button></div>
      ${overview && html`<div class="row faint">v${overview.version}<span>·</span>epoch ${overview.epoch}</div>`}
    </div></aside>`;
}

function showKeys() {
  const dialog = document.getElementById("keys");
  if (dialog && !dialog.open) dialog.showModal();
}

function Keys() {
  const rows = [["/", "Search needs"], ["t", "Light or dark"], ["?", "This help"], ["Esc", "Close, or leave a field"], ...PAGES.map((page) => ["g " + page.key, page.name])];
  return html`<dialog id="keys" aria-labelledby="keys-title"><header><h2 id="keys-title">Keyboard shortcuts</h2>
    <button type="button" class="button quiet" aria-label="Close" onClick=${(event) => event.currentTarget.closest("dialog").close()}><${Icon} name="cross" /></button></header>
    <dl>${rows.map(([keys, text]) => html`<dt>${keys.split(" ").map((key) => html`<kbd>${key}</kbd> `)}</dt><dd>${text}</dd>`)}</dl></dialog>`;
}

const WRITES = /^(INPUT|TEXTAREA|SELECT)$/;

function useKeys(closeMenu) {
  useEffect(() => {
    let after = 0;
    const pressed = (event) => {
      if (event.metaKey || event.ctrlKey || event.altKey) return;
      const field = WRITES.test(event.target.tagName);
      if (event.key === "Escape") {
        if (field) event.target.blur();
        closeMenu();
        return;
      }
      if (field || document.querySelector("dialog[open]")) return;
      const going = Date.now() - after < 1200;
      after = 0;
      if (going) {
        const page = PAGES.find((each) => each.key === event.key);
        if (page) {
          event.preventDefault();
          go("#/" + page.id);
        }
      } else if (event.key === "g") after = Date.now();
      else if (event.key === "t") toggleTheme();
      else if (event.key === "?") showKeys();
      else if (event.key === "/") {
        event.preventDefault();
        const search = document.getElementById("search");
        if (search) search.focus();
        else {
          go("#/needs");
          focusSoon("search");
        }
      }
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, []);
}

function focusSoon(id, tries = 20) {
  const found = document.getElementById(id);
  if (found) found.focus();
  else if (tries) setTimeout(() => focusSoon(id, tries - 1), 50);
}

function Locked({ problem }) {
  const ended = problem.code === "session-expired" || problem.code === "token-expired";
  return html`<main class="main" id="main"><h1 class="hidden">Log in</h1><${Empty} icon="lock" title=${ended ? "Your session has ended" : "Log in from the command line"} command="swarmd dashboard">
    ${ended ? "Sessions last twelve hours, and end when the daemon does. " : "Only whoever may use this node's socket may see what it does. "}
    Run this on the node's host: it prints a link that opens the dashboard once, within a minute.</${Empty}></main>`;
}

function DownBanner() {
  const { state, problem } = useStore(link);
  useEffect(() => {
    if (state !== "down") return undefined;
    const clock = setInterval(() => read("dashboard/overview").catch(() => {}), 2000);
    return () => clearInterval(clock);
  }, [state]);
  if (state !== "down") return null;
  return html`<div class="banner bad" role="alert"><${Icon} name="plug" /><b>The daemon does not answer.</b>
    <span>What you see may be old. Start it with <code>${problem.fix}</code>; this page connects again by itself.</span></div>`;
}

function App() {
  const at = useStore(place);
  const { state, problem } = useStore(link);
  const [open, setOpen] = useState(false);
  const overview = useRead("dashboard/overview", null, { live: () => true, every: 15000 });
  const Page = pageAt(at);
  const main = useRef(null);
  const first = useRef(true);
  useKeys(() => setOpen(false));
  const shown = overview.data !== null;
  useEffect(() => {
    // For `swarmd bench dashboard`: what the node says is on the page from here on.
    if (shown) performance.mark("first-view");
  }, [shown]);
  useEffect(() => {
    const entry = PAGES.find((each) => each.id === at.page);
    document.title = (entry ? entry.name + " · " : "") + "swarmd";
    // A new page is told to screen readers, and begins at its top. The first one keeps what the browser does.
    if (!first.current) {
      scrollTo(0, 0);
      // Unless a key has put the reader into a field of the new page already.
      if (!main.current?.contains(document.activeElement)) main.current?.focus({ preventScroll: true });
    }
    first.current = false;
  }, [at.page, at.id]);
  useEffect(() => {
    if (state === "locked") disconnect();
    else if (state === "ok") connect();
  }, [state]);
  if (state === "locked") return html`<${Locked} problem=${problem} />`;
  return html`<a class="skip" href="#main" onClick=${(event) => {
      event.preventDefault();
      main.current.focus();
    }}>Skip to the page</a>
    <div class="shell">
      <header class="phone-bar"><button type="button" class="button quiet" aria-label="Menu" aria-expanded=${String(open)} aria-controls="side" onClick=${() => setOpen(!open)}>
        <${Icon} name="menu" /></button><a class="brand" href="#/overview"><${Mark} size=${24} /><b>swarmd</b></a><${LiveDot} /></header>
      ${open && html`<button type="button" class="scrim" aria-label="Close the menu" onClick=${() => setOpen(false)}></button>`}
      <${Side} open=${open} close=${() => setOpen(false)} at=${at} overview=${overview.data} />
      <main class="main" id="main" tabindex="-1" ref=${main} data-page=${at.page}>
        <${DownBanner} />
        <${Page} at=${at} overview=${overview} key=${at.page + "/" + at.id} />
      </main></div>
    <${Keys} /><div id="toast" class="toast" role="status" hidden></div>`;
}

// By now early.js has asked; a node that takes longer gets an empty frame first.
const FIRST_MS = 200;
await readAhead("dashboard/overview", FIRST_MS);
const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
