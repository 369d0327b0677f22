// The table of a matrix: arrows move between its cells, Enter opens a row, Space unfolds an answer; what is unfolded
// stays so when the table is fetched again.
(() => {
  "use strict";
  const open = new Set([...document.querySelectorAll("details[data-keep][open]")].map((each) => each.dataset.keep));
  const cells = () => [...document.querySelectorAll(".matrix tr")].map((row) => [...row.querySelectorAll("[data-cell]")]);

  function place(cell) {
    const rows = cells();
    const y = rows.findIndex((row) => row.includes(cell));
    return { rows, y, x: rows[y].indexOf(cell) };
  }
  function move(cell, key) {
    const { rows, y, x } = place(cell);
    const [nextY, nextX] = { ArrowUp: [y - 1, x], ArrowDown: [y + 1, x], ArrowLeft: [y, x - 1], ArrowRight: [y, x + 1], Home: [y, 0], End: [y, rows[y].length - 1] }[key];
    rows[nextY]?.[nextX]?.focus();
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const wrap = event.target.closest?.("#matrix-wrap");
    if (!wrap) return;
    const cell = event.target.closest("[data-cell]");
    const moves = ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key);
    if (moves) {
      event.preventDefault();
      event.stopPropagation();
      if (cell) move(cell, event.key);
      else cells()[1]?.[0]?.focus();
    } else if (event.target === cell && event.key === "Enter") {
      event.preventDefault();
      cell.closest("tr").querySelector("[data-row-open]")?.click();
    } else if (event.target === cell && event.key === " ") {
      const long = cell.querySelector("details");
      if (long) { event.preventDefault(); long.open = !long.open; }
    }
  }, true);

  document.addEventListener("toggle", (event) => {
    const key = event.target.dataset?.keep;
    if (!key) return;
    if (event.target.open) open.add(key); else if (!settling) open.delete(key);
  }, true);
  let settling = false;
  document.body.addEventListener("htmx:beforeSwap", () => { settling = true; });
  document.body.addEventListener("htmx:afterSettle", () => {
    for (const each of document.querySelectorAll("details[data-keep]")) each.open = open.has(each.dataset.keep);
    setTimeout(() => { settling = false; });
  });
})();
