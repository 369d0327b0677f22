// The list: marked jobs survive a refresh, and the bar of what can be done with them follows the marks.
(() => {
  "use strict";
  const boxes = () => [...document.querySelectorAll("#jobs input[name=ids]")];
  let marked = new Set();

  function follow() {
    marked = new Set(boxes().filter((box) => box.checked).map((box) => box.value));
    const bar = document.getElementById("selection-bar");
    if (!bar) return;
    bar.hidden = !marked.size;
    bar.querySelector("[data-selected-count]").textContent = String(marked.size);
    bar.querySelector("[data-needs]").disabled = marked.size < 2;
    const rerun = bar.querySelector("[data-rerun]");
    rerun.hidden = marked.size !== 1;
    rerun.href = `${rerun.dataset.rerun}?from=${[...marked][0] ?? ""}`;
    for (const box of boxes()) box.closest("tr").setAttribute("aria-selected", String(box.checked));
  }
  let last = null;  // shift marks everything between
  document.addEventListener("click", (event) => {
    const box = event.target.closest("#jobs input[name=ids]");
    if (!box) return;
    const all = boxes();
    if (event.shiftKey && last) {
      const [from, to] = [all.indexOf(last), all.indexOf(box)].sort((a, b) => a - b);
      if (from >= 0) all.slice(from, to + 1).forEach((each) => { each.checked = box.checked; });
    }
    last = box;
    follow();
  });
  document.body.addEventListener("htmx:afterSettle", () => {
    for (const box of boxes()) box.checked = marked.has(box.value);
    follow();
  });
  addEventListener("pageshow", follow);
  follow();
})();
