// Tokens: hover, a tap or the arrow keys say what a token is; a chosen model or length is shown at once.
(() => {
  "use strict";
  const bar = document.createElement("output");
  bar.className = "tok-says";
  bar.setAttribute("aria-live", "polite");
  let current = null;

  function say(token) {
    current?.classList.remove("is-current");
    current = token;
    token.classList.add("is-current");
    const box = token.closest("[data-tokens]");
    if (box.nextElementSibling !== bar) box.after(bar);
    bar.textContent = `${JSON.stringify(token.textContent)}: ${token.title}`;
  }
  document.addEventListener("pointerover", (event) => { const token = event.target.closest?.("[data-tokens] .tok"); if (token) say(token); });
  document.addEventListener("click", (event) => { const token = event.target.closest?.("[data-tokens] .tok"); if (token) say(token); });
  document.addEventListener("focusin", (event) => { if (event.target.matches?.("[data-tokens]") && !event.target.contains(current)) { const first = event.target.querySelector(".tok"); if (first) say(first); } });

  // One line up or down: the token nearest to where this one stands.
  function beside(tokens, at, step) {
    const from = tokens[at].getBoundingClientRect();
    let line = null, best = at, least = Infinity;
    for (let next = at + step; next >= 0 && next < tokens.length; next += step) {
      const box = tokens[next].getBoundingClientRect();
      if (Math.abs(box.top - from.top) < 4) continue;
      if (line === null) line = box.top;
      if (Math.abs(box.top - line) > 4) break;
      const far = Math.abs(box.left - from.left);
      if (far < least) { least = far; best = next; }
    }
    return best;
  }
  document.addEventListener("keydown", (event) => {
    const box = event.target.closest?.("[data-tokens]");
    if (!box || event.ctrlKey || event.metaKey || event.altKey) return;
    const tokens = [...box.querySelectorAll(".tok")];
    const at = Math.max(0, tokens.indexOf(current));
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tokens.length - 1 }[event.key]
      ?? (event.key === "ArrowDown" ? beside(tokens, at, 1) : event.key === "ArrowUp" ? beside(tokens, at, -1) : null);
    if (to === null || !tokens[to]) return;
    event.preventDefault();
    say(tokens[to]);
    tokens[to].scrollIntoView({ block: "nearest" });
  });
  document.addEventListener("change", (event) => { const form = event.target.closest?.("form[data-submits]"); if (form) form.requestSubmit(); });
})();
