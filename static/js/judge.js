// An evaluator's page: renders both answers at once, keys, one vote a press.
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

  for (const raw of $$(".answer__raw")) window.showAnswer(raw, raw.nextElementSibling);

  // a reader hears that the vote arrived and where one is now
  const STORED = "hone-judged";
  const before = sessionStorage.getItem(STORED);
  sessionStorage.removeItem(STORED);
  if (before) {
    $("#here").focus({ preventScroll: true });
    setTimeout(() => { $("#said").textContent = `${before} ${$("#here").textContent}`; }, 100);
  }

  let sent = false;
  document.addEventListener("submit", (event) => {
    if (event.target.dataset.once === undefined) return;
    if (sent) { event.preventDefault(); return; }
    sent = true;
    document.body.classList.add("judge--sent");
    sessionStorage.setItem(STORED, event.submitter?.name === "take_back" ? "Your last vote is open again." : "Vote stored.");
  });
  // the page that the back button brings was judged already
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-dialog]");
    if (opener) document.getElementById(opener.dataset.dialog).showModal();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && event.target.closest("textarea")) return event.target.blur();
    if (event.target.closest("textarea, input[type=text]") || event.ctrlKey || event.metaKey || event.altKey || event.repeat || $("dialog[open]")) return;
    const key = event.key.toLowerCase();
    const button = $(`[data-key="${CSS.escape(key)}"]`);
    if (button) { event.preventDefault(); button.click(); }
    else if (key === "c" && $("#why")) {
      event.preventDefault();
      $("#why").open = true;
      ($("#comment") || $("#why input"))?.focus();
    } else if (key === "r") document.body.classList.toggle("playground--raw");
  });
})();
