// What this person's role does not include is switched off where it stands. The server refuses it anyway; this only
// saves the press. The paths come with the page (dashboard.walls.closed_to).
(() => {
  "use strict";
  const closed = JSON.parse(document.getElementById("closed").textContent);
  const [looks, changes] = [closed.looks, closed.changes].map((paths) => (paths ? new RegExp(paths) : null));
  const leadsTo = (paths, address) => Boolean(paths && address !== null && paths.test(new URL(address, location.href).pathname));

  function switchOff(control) {
    if (control.disabled) return;
    control.disabled = true;
    control.title = closed.words;
    control.dataset.closed = "";
  }
  // An input may be named "action" and hide the property, so the attributes are read.
  const addressOf = (element) => element.getAttribute("hx-post") ?? element.getAttribute("hx-delete");
  const sends = (button) => {
    const form = button.form;
    if (!form) return addressOf(button);
    if ((button.getAttribute("formmethod") ?? form.getAttribute("method") ?? "get").toLowerCase() !== "post") return addressOf(button);
    return addressOf(button) ?? button.getAttribute("formaction") ?? addressOf(form) ?? form.getAttribute("action") ?? "";
  };

  function goThrough() {
    for (const button of document.querySelectorAll("button, input[type=submit]")) {
      const plain = button.type !== "submit" && addressOf(button) === null;
      if (!plain && leadsTo(changes, sends(button))) switchOff(button);
    }
    for (const field of document.querySelectorAll("input[hx-post], select[hx-post], textarea[hx-post]")) if (leadsTo(changes, addressOf(field))) switchOff(field);
    for (const form of document.querySelectorAll("form[data-changes]")) if (leadsTo(changes, form.dataset.changes)) [...form.elements].forEach(switchOff);
    for (const link of document.querySelectorAll("a[href]")) if (leadsTo(looks, link.getAttribute("href"))) link.hidden = true;
    for (const opener of document.querySelectorAll("[data-open]")) {  // a dialog in which nothing can be sent
      const buttons = [...document.getElementById(opener.dataset.open)?.querySelectorAll("form[method=post] button:not([type=button])") ?? []];
      if (buttons.length && buttons.every((button) => button.dataset.closed !== undefined)) switchOff(opener);
    }
  }
  goThrough();
  document.addEventListener("htmx:afterSettle", goThrough);
})();
