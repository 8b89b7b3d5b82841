"use strict";
// Tables are whole without this; it makes their headings sort them.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => sortBy(table, heads, column));
    head.replaceChildren(button);
  });
}

function sortBy(table, heads, column) {
  const descending = heads[column].getAttribute("aria-sort") === "ascending";
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [row.cells[column], row]);
  const numeric = rows.some(([cell]) => "value" in cell.dataset);
  rows.sort(([a], [b]) => {
    if (!numeric) {
      return compareTexts(a.textContent.trim(), b.textContent.trim()) * (descending ? -1 : 1);
    }
    const known = ("value" in b.dataset) - ("value" in a.dataset);
    if (known) return known; // cells without a figure go last, whichever way
    return (Number(a.dataset.value) - Number(b.dataset.value) || 0) * (descending ? -1 : 1);
  });
  body.append(...rows.map(([, row]) => row));
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[column].setAttribute("aria-sort", descending ? "descending" : "ascending");
}

function compareTexts(a, b) {
  return a.localeCompare(b, "en", { numeric: true });
}

// A link to a run opens it, and what it is in.
function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let one = target; one; one = one.parentElement) {
    if (one instanceof HTMLDetailsElement) one.open = true;
  }
  target?.scrollIntoView();
}
addEventListener("hashchange", openTarget);
openTarget();
