// Before anything is painted: the theme that was chosen here, or the system's. A script of its own, as the policy of the
// page allows no inline ones.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("swarmd-theme");
  } catch {
    // Storage is off: the system's theme then.
  }
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
})();
