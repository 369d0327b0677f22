// /docs: search over headings and text, language tabs, copy buttons, the contents folded on a phone.
(() => {
  "use strict";
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const box = document.getElementById("docs-search");
  const list = document.getElementById("docs-found");
  const MOST = 12;
  let sections = null;
  let marked = -1;

  if (matchMedia("(max-width: 780px)").matches) document.querySelector(".docs__menu").open = false;
  else document.querySelector(".docs__nav [aria-current]")?.scrollIntoView({ block: "nearest" });

  // ---- search ----
  function load() {
    sections ||= fetched();
    sections.catch(() => { sections = null; }); // the next word asks again
    return sections;
  }
  async function fetched() {
    const answer = await fetch(box.dataset.search);
    if (!answer.ok) throw new Error(`The search answered ${answer.status}.`);
    return (await answer.json()).sections;
  }
  // All words must be there; a hit in a heading counts more than one in the text.
  function score(section, words) {
    const heading = `${section.page} ${section.heading}`.toLowerCase();
    const text = section.text.toLowerCase();
    let sum = 0;
    for (const word of words) {
      if (heading.includes(word)) sum += section.heading.toLowerCase().includes(word) ? 10 : 6;
      else if (text.includes(word)) sum += 1;
      else return 0;
    }
    return sum;
  }
  function around(text, words) {
    const at = Math.max(0, Math.min(...words.map((word) => text.toLowerCase().indexOf(word)).filter((place) => place >= 0), text.length) - 40);
    return at >= text.length - 1 ? text.slice(0, 120) : `${at ? "…" : ""}${text.slice(at, at + 120)}…`;
  }
  async function search() {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    marked = -1;
    if (!words.length) return close();
    const found = (await load())
      .map((section) => [score(section, words), section])
      .filter(([points]) => points)
      .sort((one, other) => other[0] - one[0])
      .slice(0, MOST);
    list.replaceChildren(...found.map(([, section], number) => item(section, words, number)));
    if (!found.length) {
      const none = document.createElement("p");
      none.textContent = "Nothing found. Try fewer words.";
      list.append(none);
    }
    list.hidden = false;
    box.setAttribute("aria-expanded", "true");
  }
  function item(section, words, number) {
    const entry = document.createElement("li");
    const link = document.createElement("a");
    const where = document.createElement("small");
    entry.id = `docs-found-${number}`;
    entry.setAttribute("role", "option");
    link.href = section.url + (section.anchor ? `#${section.anchor}` : "");
    link.tabIndex = -1;
    link.textContent = section.heading || section.page;
    where.textContent = `${section.heading ? `${section.page} · ` : ""}${around(section.text, words)}`;
    link.append(where);
    entry.append(link);
    return entry;
  }
  function close() {
    list.hidden = true;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  }
  function mark(step) {
    const entries = all("li", list);
    if (!entries.length) return;
    marked = (marked + step + entries.length) % entries.length;
    entries.forEach((entry, number) => entry.setAttribute("aria-selected", String(number === marked)));
    entries[marked].scrollIntoView({ block: "nearest" });
    box.setAttribute("aria-activedescendant", entries[marked].id);
  }
  box.addEventListener("focus", load);
  box.addEventListener("input", search);
  box.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") { event.preventDefault(); mark(event.key === "ArrowDown" ? 1 : -1); }
    else if (event.key === "Enter") all("a", list)[Math.max(marked, 0)]?.click();
    else if (event.key === "Escape") { close(); box.blur(); }
  });
  document.addEventListener("click", (event) => { if (!event.target.closest(".docs__search") || event.target.closest(".docs__found a")) close(); });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, [contenteditable]")) return;
    event.preventDefault();
    box.focus();
  });

  // ---- code ----
  function choose(language) {
    for (const group of all("[data-tabs]")) {
      if (!all("[role=tab]", group).some((tab) => tab.dataset.language === language)) continue;
      for (const tab of all("[role=tab]", group)) {
        const chosen = tab.dataset.language === language;
        tab.setAttribute("aria-selected", String(chosen));
        tab.tabIndex = chosen ? 0 : -1;
      }
      for (const panel of all("[role=tabpanel]", group)) panel.hidden = panel.dataset.language !== language;
    }
    localStorage.setItem("hone-docs-language", language);
  }
  const before = localStorage.getItem("hone-docs-language");
  if (before) choose(before);
  document.addEventListener("click", (event) => {
    const tab = event.target.closest(".docs-code__tab");
    if (tab) choose(tab.dataset.language);
    const button = event.target.closest("[data-copy-code]");
    if (button) window.hone.copy(button.parentElement.querySelector("code").textContent, button);
  });
  document.addEventListener("keydown", (event) => {
    const tab = event.target.closest?.(".docs-code__tab");
    if (!tab || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const tabs = all("[role=tab]", tab.parentElement);
    const next = tabs[(tabs.indexOf(tab) + (event.key === "ArrowRight" ? 1 : -1) + tabs.length) % tabs.length];
    choose(next.dataset.language);
    next.focus();
  });
})();
