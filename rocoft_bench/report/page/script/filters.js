// Which tables, models, tasks and methods are shown. The form is the state; the address carries it.

function makeFilters(form, onChange) {
  const tables = [...document.querySelectorAll("[data-table]")].map(tableParts);
  const apply = () => {
    const wanted = selection(form);
    for (const table of tables) showTable(table, wanted);
    showRest(tables);
    showCounts(form, tables);
  };
  form.addEventListener("input", () => (apply(), onChange()));
  form.addEventListener("reset", () => setTimeout(() => (apply(), onChange())));
  form.addEventListener("submit", (event) => event.preventDefault());
  closeOnLeaving([...form.querySelectorAll("details")]);
  form.hidden = false;
  apply();
  return apply;
}

function tableParts(section) {
  return {
    section,
    key: section.dataset.table,
    headers: [...section.querySelectorAll("thead [data-column]")],
    bodies: [...section.querySelectorAll("tbody")],
    rows: [...section.querySelectorAll("tbody tr[data-method]")],
  };
}

function selection(form) {
  const data = new FormData(form);
  const among = (name) => {
    const values = new Set(data.getAll(name));
    return (value) => values.size === 0 || values.has(value);
  };
  const text = data.get("text").trim().toLowerCase();
  return {
    table: among("table"),
    model: among("model"),
    task: among("task"),
    method: (row) => among("method")(row.dataset.method) && row.cells[0].textContent.toLowerCase().includes(text),
  };
}

function showTable({ section, key, headers, bodies, rows }, wanted) {
  for (const row of rows) row.hidden = !wanted.method(row);
  for (const body of bodies) {
    body.hidden = !wanted.model(body.dataset.model) || [...body.querySelectorAll("[data-method]")].every((row) => row.hidden);
  }
  const ofTasks = headers.filter((header) => header.dataset.task);
  for (const header of ofTasks) showColumn(header, rows, wanted.task(header.dataset.task));
  const noRows = bodies.length > 0 && bodies.every((body) => body.hidden);
  const noTasks = ofTasks.length > 0 && ofTasks.every((header) => header.hidden);
  section.hidden = !wanted.table(key) || noRows || noTasks;
}

function showColumn(header, rows, isShown) {
  if (header.hidden === !isShown) return;
  header.hidden = !isShown;
  for (const row of rows) row.cells[header.cellIndex].hidden = !isShown;
}

// Figures go with the table that they are of, headings with what is below them.
function showRest(tables) {
  const shown = new Map(tables.map(({ key, section }) => [key, !section.hidden]));
  for (const figure of document.querySelectorAll("figure[data-of]")) figure.hidden = shown.get(figure.dataset.of) === false;
  for (const entry of document.querySelectorAll("nav [data-of]")) {
    entry.hidden = shown.get(entry.dataset.of) === false;
  }
  const groups = [...document.querySelectorAll(".group")];
  for (const group of groups) group.hidden = group.querySelector(".item:not([hidden])") === null;
  document.querySelector(".nothing").hidden = groups.some((group) => !group.hidden);
}

function showCounts(form, tables) {
  for (const details of form.querySelectorAll(".choice")) {
    const chosen = details.querySelectorAll(":checked").length;
    details.classList.toggle("on", chosen > 0);
    details.querySelector("output").textContent = chosen ? `(${chosen})` : "";
  }
  const visible = tables.filter(({ section }) => !section.hidden);
  const rows = (of) => of.flatMap((table) => table.rows);
  const seen = rows(visible).filter((row) => !row.hidden && !row.parentElement.hidden);
  const text = `${visible.length} of ${tables.length} tables, ${seen.length} of ${rows(tables).length} rows`;
  form.querySelector(".count").textContent = text;
}

function closeOnLeaving(menus) {
  const closeOthers = (target) => menus.forEach((menu) => menu.contains(target) || (menu.open = false));
  document.addEventListener("pointerdown", (event) => closeOthers(event.target));
  document.addEventListener("focusin", (event) => closeOthers(event.target));
  for (const menu of menus) {
    menu.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !menu.open) return;
      menu.open = false;
      menu.querySelector("summary").focus();
    });
  }
}

function filtersToParameters(form) {
  const chosen = [...new FormData(form)].filter(([, value]) => value.trim() !== "");
  return new URLSearchParams(chosen);
}

function filtersFromParameters(form, parameters) {
  for (const box of form.querySelectorAll("[type=checkbox]")) {
    box.checked = parameters.getAll(box.name).includes(box.value);
  }
  form.elements.text.value = parameters.get("text") ?? "";
}
