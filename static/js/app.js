// The frame's behaviour. Other scripts use `window.hone`: toast, confirm, copy, icon, colour, ago; events on document:
//   hone:theme   colours changed: redraw canvases
//   hone:news    on body: something changed in this project (detail = the socket's message); htmx: hx-trigger="hone:news from:body"
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const icons = document.body.dataset.icons;

  function icon(name, extra = "") {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("class", `icon ${extra}`.trim());
    svg.setAttribute("aria-hidden", "true");
    const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
    use.setAttribute("href", `${icons}#${name}`);
    svg.append(use);
    return svg;
  }

  // ---- theme ----
  const THEMES = ["system", "light", "dark"];
  const THEME_ICONS = { system: "monitor", light: "sun", dark: "moon" };
  const themeChoice = () => localStorage.getItem("hone-theme") || "system";

  function showTheme() {
    const choice = themeChoice();
    if (choice === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice;
    for (const button of $$("[data-theme-switch]")) {
      $("use", button).setAttribute("href", `${icons}#${THEME_ICONS[choice]}`);
      const words = `Theme: ${choice}`;
      if (button.dataset.withWord !== undefined) $("span", button).textContent = words;
      else { button.title = words; button.setAttribute("aria-label", `${words}. Press to change`); }
    }
  }
  function nextTheme() {
    localStorage.setItem("hone-theme", THEMES[(THEMES.indexOf(themeChoice()) + 1) % THEMES.length]);
    showTheme();
    document.dispatchEvent(new CustomEvent("hone:theme"));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new CustomEvent("hone:theme")));

  // A token as a colour that a canvas understands.
  function colour(token) {
    const probe = document.createElement("span");
    probe.hidden = true;
    probe.style.color = `var(${token})`;
    document.body.append(probe);
    const canvas = colour.canvas ||= Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = getComputedStyle(probe).color;
    canvas.fillRect(0, 0, 1, 1);
    probe.remove();
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return a === 255 ? `rgb(${r}, ${g}, ${b})` : `rgba(${r}, ${g}, ${b}, ${(a / 255).toFixed(3)})`;
  }

  // ---- toasts ----
  const TOAST_ICONS = { ok: "circle-check", bad: "circle-x", warn: "triangle-alert", info: "info" };
  const LEVELS = { success: "ok", error: "bad", warning: "warn", debug: "info" };

  function dressToast(element, level) {
    element.prepend(icon(TOAST_ICONS[level] || "info"));
    const close = Object.assign(document.createElement("button"), { type: "button", className: "toast__close" });
    close.setAttribute("aria-label", "Dismiss");
    close.append(icon("x", "icon--small"));
    close.addEventListener("click", () => element.remove());
    element.append(close);
    if (level !== "bad") setTimeout(() => element.matches(":hover, :focus-within") ? setTimeout(() => element.remove(), 6000) : element.remove(), 6000);
  }
  function toast(text, level = "info") {
    const element = Object.assign(document.createElement("div"), { className: `toast toast--${level}` });
    element.append(Object.assign(document.createElement("span"), { textContent: text }));
    dressToast(element, level);
    $("#toasts").append(element);
    return element;
  }
  function dressServerToasts() {
    for (const element of $$("[data-toast]")) {
      element.removeAttribute("data-toast");
      const raw = (element.className.match(/toast--([a-z]+)/) || [])[1] || "info";
      const level = LEVELS[raw] || raw;
      element.className = `toast toast--${level}`;
      dressToast(element, level);
    }
  }

  // What somebody put away for good in this browser stays away, also when a part of the page is fetched again.
  function hideDismissed() {
    for (const key of $$("[data-dismiss]")) if (key.dataset.dismiss && localStorage.getItem(`hone-dismissed-${key.dataset.dismiss}`)) key.closest(".notice, .card")?.remove();
  }

  // ---- times ----
  function ago(date, now = Date.now()) {
    const seconds = (now - date) / 1000;
    for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) if (seconds >= length) return `${Math.floor(seconds / length)} ${unit} ago`;
    return "just now";
  }
  const refreshTimes = () => $$("time[data-ago]").forEach((element) => { element.textContent = ago(new Date(element.dateTime)); });
  // As the filter `duration` says it. data-ticks-since: the moment from which an element counts up.
  function duration(seconds) {
    if (seconds < 60) return seconds < 1 ? "under 1 s" : `${seconds} s`;
    const [most, rest, unit] = seconds < 3600 ? [seconds / 60, seconds % 60, "min s"] : [seconds / 3600, (seconds % 3600) / 60, "h min"];
    const [first, second] = unit.split(" ");
    return `${Math.floor(most)} ${first} ${String(Math.floor(rest)).padStart(2, "0")} ${second}`;
  }
  const tick = () => $$("[data-ticks-since]").forEach((element) => { element.textContent = duration(Math.max(0, Math.round((Date.now() - new Date(element.dataset.ticksSince)) / 1000))); });

  // ---- copying ----
  async function copy(text, button) {
    try { await navigator.clipboard.writeText(text); }
    catch {  // without https a browser has no clipboard object
      const area = Object.assign(document.createElement("textarea"), { value: text, className: "visually-hidden" });
      (button?.closest("dialog") || document.body).append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    if (!button) return toast("Copied", "ok");
    const use = $("use", button);
    const before = use?.getAttribute("href");
    use?.setAttribute("href", `${icons}#check`);
    $("#toasts").dataset.said = "Copied";
    toast("Copied", "ok");
    setTimeout(() => before && use.setAttribute("href", before), 1500);
  }

  // ---- confirming ----
  function confirm(question, { title = "Are you sure?", verb = "Delete", keep = "Keep" } = {}) {
    const dialog = $("#confirm");
    if (!dialog) return Promise.resolve(window.confirm(question));
    $("#confirm-title").textContent = title;
    $("#confirm-text").textContent = question;
    $("#confirm-yes").textContent = verb;
    $("button[value=no]", dialog).textContent = keep;
    dialog.returnValue = "no";
    dialog.showModal();
    return new Promise((answer) => dialog.addEventListener("close", () => answer(dialog.returnValue === "yes"), { once: true }));
  }
  const confirmWords = (element) => ({ title: element.dataset.confirmTitle, verb: element.dataset.confirmVerb, keep: element.dataset.confirmKeep });

  // ---- dialogs and menus ----
  function open(id) {
    const dialog = document.getElementById(id);
    if (!dialog || dialog.open) return;
    $$("details.menu[open]").forEach((menu) => { menu.open = false; });
    dialog.showModal();
    if (id === "palette") startPalette();
  }
  document.addEventListener("click", (event) => {
    const target = event.target.closest("[data-open], [data-close], [data-copy], [data-copy-text], [data-theme-switch], [data-dismiss]");
    for (const menu of $$("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
    if (event.target instanceof HTMLDialogElement && event.target.id !== "confirm" && !event.target.dataset.stay) {
      const box = event.target.getBoundingClientRect();
      if (event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom) event.target.close();
    }
    if (target) {
      const data = target.dataset;
      if (data.open !== undefined) open(data.open);
      else if (data.close !== undefined) target.closest("dialog")?.close();
      else if (data.themeSwitch !== undefined) nextTheme();
      else if (data.copyText !== undefined) copy(data.copyText, target);
      else if (data.copy !== undefined) { const from = $(data.copy); copy(from.value ?? from.textContent.trim(), target); }
      else if (data.dismiss !== undefined) { if (data.dismiss) localStorage.setItem(`hone-dismissed-${data.dismiss}`, "1"); target.closest(".notice, .card")?.remove(); }
      return;
    }
    // A press anywhere on a row opens it, but not on its own controls, nor while selecting text.
    const row = event.target.closest("tr[data-href]");
    if (row && !event.target.closest("a, button, input, select, label, summary") && !getSelection().toString()) {
      if (event.ctrlKey || event.metaKey) window.open(row.dataset.href, "_blank"); else location.href = row.dataset.href;
    }
  });
  document.addEventListener("submit", async (event) => {
    const form = event.target;
    const words = event.submitter?.dataset.confirm !== undefined ? event.submitter : form;
    if (words.dataset.confirm === undefined || form.dataset.confirmed) { delete form.dataset.confirmed; return; }
    event.preventDefault();
    event.stopImmediatePropagation();
    if (await confirm(words.dataset.confirm, confirmWords(words))) { form.dataset.confirmed = "1"; form.requestSubmit(event.submitter); }
  }, true);

  // ---- tabs: [role=tablist] > [role=tab][aria-controls] ----
  function choose(tab, focus = false) {
    for (const other of $$("[role=tab]", tab.closest("[role=tablist]"))) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      const panel = document.getElementById(other.getAttribute("aria-controls"));
      if (panel) panel.hidden = !chosen;
    }
    if (focus) tab.focus();
    tab.dispatchEvent(new CustomEvent("hone:tab", { bubbles: true }));
  }
  document.addEventListener("click", (event) => { const tab = event.target.closest("button[role=tab][aria-controls]"); if (tab) { choose(tab); if (tab.dataset.hash !== undefined) history.replaceState(null, "", `#${tab.dataset.hash}`); } });

  // ---- palette ----
  function startPalette() {
    const input = $("#palette-input");
    input.value = "";
    input.focus();
    window.htmx?.trigger(input, "fetch");
  }
  const paletteItems = () => $$("#palette-list .palette__item");
  function selectItem(index) {
    const items = paletteItems();
    if (!items.length) return;
    const wanted = (index + items.length) % items.length;
    items.forEach((item, position) => {
      item.setAttribute("aria-selected", String(position === wanted));
      item.id ||= `palette-item-${position}`;
    });
    $("#palette-input").setAttribute("aria-activedescendant", items[wanted].id);
    items[wanted].scrollIntoView({ block: "nearest" });
  }
  function paletteKey(event) {
    const items = paletteItems();
    const at = items.findIndex((item) => item.getAttribute("aria-selected") === "true");
    if (event.key === "ArrowDown") selectItem(at + 1);
    else if (event.key === "ArrowUp") selectItem(at - 1);
    else if (event.key === "Enter" && items[at]) items[at].click();
    else return;
    event.preventDefault();
  }

  // ---- keys ----
  const GO = { o: "/", d: "/datasets/", j: "/jobs/", m: "/models/", p: "/playground/", c: "/campaigns/", s: "/settings/" };
  let went = 0;
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") { event.preventDefault(); return open("palette"); }
    if (event.target.id === "palette-input") return paletteKey(event);
    const tab = event.target.closest?.("[role=tab][aria-controls]");
    if (tab && ["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) {
      const all = $$("[role=tab]", tab.closest("[role=tablist]"));
      const at = all.indexOf(tab);
      const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1 }[event.key];
      event.preventDefault();
      return choose(all[(next + all.length) % all.length], true);
    }
    if (event.key === "Escape" && !$("dialog[open]")) for (const menu of $$("details.menu[open]")) { menu.open = false; $("summary", menu).focus(); } // from a field in it, too
    if (event.target.closest?.("input, textarea, select, [contenteditable]") || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]")) return;
    if (event.key === "?") { event.preventDefault(); return open("keys-dialog"); }
    if (event.key === "/") { event.preventDefault(); return open("palette"); }
    if (event.key === "g") { went = Date.now(); return; }
    if (GO[event.key] && Date.now() - went < 1200) { location.href = GO[event.key]; return; }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") moveInTable(event);
  });
  function moveInTable(event) {
    const links = $$(".table .row-link");
    const focused = document.activeElement;
    const at = links.findIndex((link) => link === focused || link.closest("tr").contains(focused));
    // nothing has the focus yet: on a page that is a list, the arrow down begins at the first row
    const begins = at < 0 && event.key === "ArrowDown" && [document.body, $("#main")].includes(focused);
    if (at < 0 && !begins) return;
    const next = begins ? $(".table[data-list] .row-link") : links[at + (event.key === "ArrowDown" ? 1 : -1)];
    if (next) { event.preventDefault(); next.focus(); }
  }

  // ---- htmx ----
  // A request that a newer one took the place of, or that the person left, is no error; htmx asks this before it logs.
  // What really failed is logged by the event that follows: sendError or timeout.
  htmx.logger = (element, name, detail) => { if (name === "htmx:sendAbort" || name === "htmx:afterRequest") detail.error = null; };
  document.addEventListener("htmx:confirm", (event) => {
    if (!event.detail.question) return;
    event.preventDefault();
    confirm(event.detail.question, confirmWords(event.detail.elt)).then((yes) => { if (yes) event.detail.issueRequest(true); });
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    const polled = event.detail.elt.closest("[data-poll]");
    if (!polled || event.detail.elt.matches("button, a, form")) return;
    // nobody looks, or somebody is in the middle of a menu or a field that a swap would take away
    if (document.hidden || polled.closest("dialog:not([open])") || polled.querySelector("details.menu[open], input:focus, textarea:focus, select:focus")) event.preventDefault();
  });
  document.addEventListener("htmx:responseError", (event) => {
    const { xhr, elt } = event.detail;
    if (elt.closest("[data-poll]")) return;
    const inWords = xhr.getResponseHeader("Content-Type")?.startsWith("text/plain");
    if (xhr.status === 403 && !inWords) return toast("You were signed out, or the page is too old. Reload it.", "bad");
    const said = inWords ? xhr.responseText : `The server answered ${xhr.status}. Nothing was changed; see the server's log.`;
    toast(said, "bad");
  });
  document.addEventListener("htmx:sendError", (event) => { if (!event.detail.elt.closest("[data-poll]")) toast("No answer from the server. Is it running?", "bad"); });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id === "palette-list") selectItem(0);
    refreshTimes();
    hideDismissed();
  });
  // A view says so with the header HX-Trigger: {"toast": {"text": "...", "level": "ok"}}
  document.addEventListener("toast", (event) => toast(event.detail.text ?? event.detail.value, event.detail.level || "ok"));

  // ---- news of this project ----
  let wait = 1000;
  function listen(address) {
    const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${address}`);
    socket.onopen = () => { wait = 1000; };
    socket.onmessage = (message) => {
      let detail = null;
      try { detail = JSON.parse(message.data); } catch { /* a bare ping */ }
      document.body.dispatchEvent(new CustomEvent("hone:news", { detail }));
    };
    socket.onclose = () => { setTimeout(() => listen(address), wait); wait = Math.min(wait * 2, 60_000); };
  }

  window.hone = { toast, confirm, copy, icon, colour, ago, open };
  showTheme();
  dressServerToasts();
  refreshTimes();
  hideDismissed();
  for (const notice of $$("[data-once]")) notice.hidden = false;
  // what the address names has the focus after a reload, too: the browser gives it only when it goes there
  const named = document.getElementById(location.hash.slice(1));
  if (document.activeElement === document.body && named?.matches('[tabindex="-1"]')) named.focus({ preventScroll: true });
  for (const hint of $$("[data-scroll-hint]")) {
    const box = document.getElementById(hint.dataset.scrollHint);
    hint.hidden = box.scrollWidth <= box.clientWidth + 1;
  }
  // where not all tabs fit, the one that is shown stands in the middle
  for (const tab of $$(".tabs > [aria-current], .tabs > [aria-selected=true]")) {
    const box = tab.parentElement;
    box.scrollLeft += tab.getBoundingClientRect().left - box.getBoundingClientRect().left - (box.clientWidth - tab.offsetWidth) / 2;
  }
  setInterval(refreshTimes, 20_000);
  setInterval(tick, 1000);
  if (document.body.dataset.projectSocket) listen(document.body.dataset.projectSocket);
})();
