// Before anything is painted: the theme that was chosen here, or the system's; and what every page needs is asked for
// while the modules are on their way. A script of its own, as the policy of the page allows no inline ones.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("swarmd-theme");
  } catch {
    // Storage is off: the system's theme then.
  }
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  window.early = fetch("/api/v1/dashboard/overview", { headers: { accept: "application/json" }, credentials: "same-origin" });
  window.early.catch(() => {}); // who takes it sees that it failed
})();
