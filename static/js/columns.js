// How the columns of the playground are looked at. What a person chooses stands in the address, so that it reopens.
(() => {
  "use strict";
  const sheets = document.querySelector("#sheets");
  if (!sheets) return;
  const LETTERS = "ABCDEFGH";

  // ---- folding: classes on the sheets, which are never swapped; the style sheet does the rest ----
  const isFolded = (index) => sheets.classList.contains(`fold-${index}`);
  function fold(index) {
    const all = document.querySelectorAll(".sheets__heads .sheet").length;
    if (all < 2 || index >= all) return;
    sheets.classList.toggle(`fold-${index}`);
    const folded = [...LETTERS].slice(0, all).filter((_, each) => isFolded(each));
    sheets.className = sheets.className.replace(/\bcolumns-\d/, `columns-${all - folded.length}`).replace(/\bfolded-\d/, `folded-${folded.length}`);
    sheets.querySelector(`[data-fold="${index}"]`)?.setAttribute("aria-expanded", String(!isFolded(index)));
    const address = new URL(location.href);
    if (folded.length) address.searchParams.set("fold", folded.join(",")); else address.searchParams.delete("fold");
    history.replaceState(null, "", address.href.replaceAll("%2C", ","));
  }
  // ---- differences: links, made of the address as it is now ----
  function showDifferences(link) {
    const address = new URL(location.href);
    if (link.dataset.diff === "none") address.searchParams.delete("diff"); else address.searchParams.set("diff", link.dataset.diff);
    location.replace(address.href.replaceAll("%2C", ","));
  }
  function nextDifferences() {
    const links = [...sheets.querySelectorAll("[data-diff]")];
    if (links.length) showDifferences(links[(links.findIndex((link) => link.ariaCurrent === "true") + 1) % links.length]);
  }
  sheets.addEventListener("click", (event) => {
    const link = event.target.closest("[data-diff]");
    if (link && !event.ctrlKey && !event.metaKey) { event.preventDefault(); return showDifferences(link); }
    const button = event.target.closest("[data-fold]");
    const strip = event.target.closest(".cell");
    if (button) fold(Number(button.dataset.fold));
    else if (strip && isFolded(strip.dataset.column)) fold(Number(strip.dataset.column));
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.closest("input, textarea, select, [contenteditable]") || document.querySelector("dialog[open]")) return;
    if (event.shiftKey && /^Digit[1-8]$/.test(event.code)) { event.preventDefault(); fold(Number(event.code.at(-1)) - 1); }
    else if (event.key === "d" && !document.querySelector(".playground--running")) { event.preventDefault(); nextDifferences(); }
  });
})();
