// Sorting by a column: first click up, second down, third as it was. Rows stay with their model, empty cells go last.

function makeSortable(table) {
  const bodies = [...table.tBodies].map((body) => ({ body, rows: [...body.querySelectorAll("[data-method]")] }));
  const headers = [...table.tHead.rows[0].cells];
  for (const header of headers) {
    header.firstElementChild.addEventListener("click", () => {
      const order = { none: "ascending", ascending: "descending", descending: "none" }[header.ariaSort];
      for (const other of headers) other.ariaSort = other === header ? order : "none";
      for (const { body, rows } of bodies) body.append(...sorted(rows, headers.indexOf(header), order));
    });
  }
}

function sorted(rows, column, order) {
  if (order === "none") return rows;
  const direction = order === "ascending" ? 1 : -1;
  const keyed = rows.map((row) => ({ row, value: row.cells[column].dataset.value }));
  const filled = keyed.filter(({ value }) => value !== "");
  filled.sort((a, b) => direction * compared(a.value, b.value));
  return [...filled, ...keyed.filter(({ value }) => value === "")].map(({ row }) => row);
}

function compared(a, b) {
  const difference = Number(a) - Number(b);
  return Number.isNaN(difference) ? a.localeCompare(b, "en", { numeric: true }) : difference;
}
