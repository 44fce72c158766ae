"use strict";
// Sorting: each header that can sort becomes a button, and says its state by aria-sort.
function key(row, column, kind) {
  const cell = row.children[column];
  if (kind === "text") return cell.textContent.trim().toLowerCase();
  const value = parseFloat(cell.dataset.v ?? cell.textContent);
  return Number.isNaN(value) ? -Infinity : value;
}

function sort(head, button) {
  const table = head.closest("table"), kind = head.dataset.sort;
  const column = [...head.parentNode.children].indexOf(head);
  const first = kind === "text" ? "ascending" : "descending"; // numbers from the best down
  const other = first === "ascending" ? "descending" : "ascending";
  const next = head.getAttribute("aria-sort") === first ? other : first;
  for (const cell of head.parentNode.querySelectorAll("[aria-sort]")) cell.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", next);
  const sign = next === "ascending" ? 1 : -1;
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [key(row, column, kind), row]);
  rows.sort(([a], [b]) => (a < b ? -sign : a > b ? sign : 0));
  body.append(...rows.map(([, row]) => row));
}

for (const head of document.querySelectorAll("th[data-sort]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  button.addEventListener("click", () => sort(head, button));
  head.append(button);
  head.setAttribute("aria-sort", "none");
}

// Filtering: choices stand in the address, so that a view can be sent to someone.
const form = document.querySelector(".filters");

function show() {
  const want = Object.fromEntries(new FormData(form));
  const directions = want.direction ? want.direction.split(" ") : null;
  let shown = 0, all = 0;
  for (const section of document.querySelectorAll("section.data")) {
    let any = false;
    for (const table of section.querySelectorAll(".table")) {
      const more = table.closest("details.more");
      let rows = 0;
      for (const row of table.querySelectorAll("tbody tr")) {
        const source = row.dataset.source ?? "method";
        row.hidden = Boolean(want.source) && source !== want.source;
        if (!row.hidden) rows += 1;
        if (!more || want.family) all += 1;
      }
      for (const cell of table.querySelectorAll("[data-d]")) {
        cell.hidden = directions !== null && !directions.includes(cell.dataset.d);
      }
      const fits = (!want.dataset || section.dataset.dataset === want.dataset)
        && (!want.family || table.dataset.family === want.family);
      table.hidden = !fits || rows === 0;
      if (!table.hidden && (!more || want.family)) shown += rows;
      any ||= !table.hidden && (!more || Boolean(want.family));
    }
    const more = section.querySelector("details.more");
    if (more) more.hidden = !more.querySelector(".table:not([hidden])");
    if (more) more.open = Boolean(want.family) && !more.hidden;
    section.hidden = !any;
  }
  form.querySelector(".status").textContent = `${shown} of ${all} rows shown`;
  const chosen = new URLSearchParams(Object.entries(want).filter(([, value]) => value)).toString();
  history.replaceState(null, "", chosen ? `#${chosen}` : location.pathname + location.search);
}

if (form) {
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    const field = form.elements.namedItem(name);
    if (field && [...field.options].some((option) => option.value === value)) field.value = value;
  }
  form.addEventListener("change", show);
  form.addEventListener("reset", () => setTimeout(show));
  form.hidden = false;
  show();
}
