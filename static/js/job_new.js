// The form of a rerun: what differs from the parent is marked while one types.
(() => {
  "use strict";
  const form = document.getElementById("job-form");
  const rows = [...form.querySelectorAll("[data-field][data-parent]")];
  const summary = document.getElementById("changed-summary");
  const asText = (value) => value.trim().toLowerCase().replace(/^auto$/, "").replace(/[,\s]+/g, ",");
  const label = (row) => row.querySelector(".field__label").textContent.replace(/^[A-Z](?=[a-z]*\b)/, (first) => first.toLowerCase());

  function readable(row) {
    const value = row.dataset.parent;
    const control = form.elements[row.dataset.field];
    const option = [...(control.options ?? [])].find((each) => each.value === value);
    const radio = control instanceof RadioNodeList ? [...control].find((each) => each.value === value)?.parentElement : null;
    return (option?.textContent ?? radio?.textContent ?? value) || "auto";
  }
  function mark() {
    const changed = [];
    for (const row of rows) {
      const control = form.elements[row.dataset.field];
      if (!control) continue;
      const same = asText(control.value) === asText(row.dataset.parent);
      const hidden = row.offsetParent === null && !row.closest("details:not([open])");
      row.classList.toggle("field--changed", !same && !hidden);
      const was = row.querySelector(":scope > .field__was");
      was.hidden = same;
      was.textContent = same ? "" : `was ${row.dataset.parent === "" ? (row.dataset.field === "validation_file" || row.dataset.field === "suffix" || row.dataset.field === "label" ? "empty" : "auto") : readable(row)}`;
      if (!same && !hidden) changed.push(label(row));
    }
    if (summary) summary.textContent = changed.length ? `Changed: ${changed.join(", ")}.` : "Nothing is changed yet.";
  }
  if (rows.length) { form.addEventListener("input", mark); form.addEventListener("change", mark); mark(); }

  // The line of each group of advanced fields: what is set in it, and how many are wrong; a wrong field opens it.
  const groups = [...form.querySelectorAll(".job-group")];
  function tell(group) {
    const full = form.elements.adaptation.value === "full";
    const set = [...group.querySelectorAll("[data-usual]")].filter((row) => {
      const held = asText(form.elements[row.dataset.field].value);
      return held && held !== asText(row.dataset.usual) && !(full && row.closest(".when-lora"));
    });
    const said = group.querySelector(".job-group__said"), wrong = group.querySelector(".job-group__wrong");
    said.textContent = set.length ? `${set.length} set: ${set.map((row) => row.querySelector(".field__label").textContent).join(", ")}` : said.dataset.about;
    const faults = [...group.querySelectorAll(".field__error")].filter((each) => each.textContent).length;
    if (faults && wrong.hidden) group.open = true;
    wrong.hidden = !faults;
    wrong.textContent = `${faults} to correct`;
  }
  const tellAll = () => groups.forEach(tell);
  form.addEventListener("input", tellAll);
  form.addEventListener("change", tellAll);

  // A link of the summary of errors puts the cursor into its field; a closed fold opens.
  document.addEventListener("click", (event) => {
    const link = event.target.closest(".faults a");
    const wanted = link && document.getElementById(link.hash.slice(1));
    if (!wanted) return;
    event.preventDefault();
    wanted.closest("details:not([open])")?.setAttribute("open", "");
    const control = wanted.matches("input, select, textarea") ? wanted : wanted.querySelector("input:checked, input, select");
    wanted.scrollIntoView({ block: "center" });
    control?.focus({ preventScroll: true });
  });
  (document.getElementById("faults") ?? document.getElementById("file-faults"))?.focus({ preventScroll: true });

  // The code stays open and on its tab when the card is fetched again.
  let open = false, tab = 1;
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id !== "answer") return;
    open = Boolean(document.querySelector(".same-as-code[open]"));
    tab = [...document.querySelectorAll(".same-as-code [role=tab]")].findIndex((each) => each.getAttribute("aria-selected") === "true");
  });
  document.body.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id !== "answer") return;
    const code = document.querySelector(".same-as-code");
    if (open && code) { code.open = true; code.querySelectorAll("[role=tab]")[tab]?.click(); }
    for (const row of form.querySelectorAll("[data-field]")) {
      const error = row.querySelector(":scope > .field__error");
      if (!error) continue;
      row.classList.toggle("field--bad", Boolean(error.textContent));
      const control = row.querySelector(":scope > input, :scope > select, :scope > textarea");
      if (error.textContent) control?.setAttribute("aria-invalid", "true"); else control?.removeAttribute("aria-invalid");
    }
    tellAll();
  });
})();
