// Wiring. The address after "#" holds the filters and the open run, so that a view can be linked to.

const form = document.querySelector(".filters");
const applyFilters = makeFilters(form, remember);
let openId = null;

function remember() {
  const parameters = filtersToParameters(form);
  if (openId !== null) parameters.set("run", openId);
  const hash = parameters.toString();
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}

async function showRun(number, numbers) {
  await openRun(number, numbers, (other) => showRun(other, numbers));
  const index = await unpack("index").catch(() => null);
  openId = dialog.open ? (index?.runs[number].id ?? null) : null;
  remember();
}

// A hash without "=" is a place in the page; it leaves the filters as they are.
async function restore() {
  if (!location.hash.includes("=")) return;
  const parameters = new URLSearchParams(location.hash.slice(1));
  filtersFromParameters(form, parameters);
  applyFilters();
  const id = parameters.get("run");
  if (id === openId) return;
  dialog.close();
  if (id !== null) await showRunOf(id);
}

async function showRunOf(id) {
  try {
    const { runs } = await unpack("index");
    const number = runs.findIndex((run) => run.id === id);
    if (number < 0) throw new Error(`This page has no run ${id}.`);
    await showRun(number, runsBeside(number));
  } catch (error) {
    showFailure(error.message);
  }
}

// The runs of the smallest cell that a run is part of.
function runsBeside(number) {
  const cells = [...document.querySelectorAll(`[data-runs~="${number}"]`)].map(runsOf);
  return cells.sort((a, b) => a.length - b.length)[0] ?? [number];
}

function runsOf(link) {
  return link.dataset.runs.split(" ").map(Number);
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a.runs, nav a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const isRun = link.matches(".runs");
  if (!isRun && !location.hash.includes("=")) return;
  event.preventDefault(); // the address keeps the filters
  if (isRun) showRun(runsOf(link)[0], runsOf(link));
  else document.getElementById(link.getAttribute("href").slice(1)).scrollIntoView();
});

dialog.querySelector(".close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
dialog.addEventListener("close", () => {
  openId = null;
  remember();
});

document.querySelectorAll(".item table").forEach(makeSortable);
if (matchMedia("(max-width: 64rem)").matches) document.querySelector("nav details").open = false;
makeThemeButton(document.getElementById("theme"));
addEventListener("hashchange", restore);
restore();

function makeThemeButton(button) {
  const names = { "": "automatic", light: "light", dark: "dark" };
  const following = { "": "dark", dark: "light", light: "" };
  const show = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.lastElementChild.textContent = names[theme];
    button.setAttribute("aria-label", `Theme: ${names[theme]}`);
  };
  button.addEventListener("click", () => {
    show(following[document.documentElement.dataset.theme]);
    keepTheme(document.documentElement.dataset.theme);
  });
  show(keptTheme());
  button.hidden = false;
}

// A browser may refuse to keep anything for a file.
function keptTheme() {
  try {
    return { light: "light", dark: "dark" }[localStorage.getItem("rocoft-theme")] ?? "";
  } catch {
    return "";
  }
}

function keepTheme(theme) {
  try {
    localStorage.setItem("rocoft-theme", theme);
  } catch {
    // The choice holds until the page is closed.
  }
}
