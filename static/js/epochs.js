// The slider over a job's epochs: shows one answer at a time, and keeps to the chosen one while others join.
(() => {
  "use strict";
  const live = document.getElementById("epochs-live");
  if (!live) return;
  let chosen = null;  // the checkpoint; null: the newest, whatever joins
  function show() {
    const stops = [...live.querySelectorAll("[data-stop]")];
    const range = live.querySelector("#epoch");
    if (!range || !stops.length) return;
    let index = stops.findIndex((stop) => stop.dataset.stop === chosen);
    if (index < 0) index = stops.length - 1;
    range.value = index;
    stops.forEach((stop, at) => { stop.hidden = at !== index; });
    const words = stops[index].dataset.words;
    range.setAttribute("aria-valuetext", words);
    live.querySelector("output").textContent = words;
  }
  live.addEventListener("input", (event) => {
    if (event.target.id !== "epoch") return;
    const stops = live.querySelectorAll("[data-stop]");
    const index = Number(event.target.value);
    chosen = index === stops.length - 1 ? null : stops[index].dataset.stop;
    show();
  });
  let focused = false;
  document.addEventListener("htmx:beforeSwap", (event) => { if (event.detail.target === live) focused = document.activeElement?.id === "epoch"; });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target !== live) return;
    show();
    if (focused) live.querySelector("#epoch")?.focus({ preventScroll: true });
  });
  show();
})();
