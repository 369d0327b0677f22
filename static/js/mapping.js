// The mapping page: a press on a column puts its name where the cursor last was; the switch of the first row draws the
// page anew, since all columns are called otherwise.
(() => {
  "use strict";
  const form = document.getElementById("mapping");
  let last = form.querySelector("[data-part]");
  form.addEventListener("focusin", (event) => { if (event.target.matches("[data-part]")) last = event.target; });
  form.querySelector("[data-header]")?.addEventListener("change", (event) => {
    location.search = new URLSearchParams({ target: form.elements.target.value, header: event.target.checked ? "1" : "0" });
  });
  form.addEventListener("click", (event) => {
    const column = event.target.closest("[data-insert]");
    if (!column || !last) return;
    last.setRangeText(column.dataset.insert, last.selectionStart, last.selectionEnd, "end");
    last.focus();
    last.dispatchEvent(new Event("input", { bubbles: true }));
  });
})();
