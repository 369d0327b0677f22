// The review queue by keyboard: a decision loads the page anew, and the focus stands where it was, or on the next find
// where the decided one has left the list.
(() => {
  "use strict";
  const KEY = "hone-safety-focus";
  const groups = () => [...document.querySelectorAll("#safety .segmented[role=group]")];

  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    const group = button?.closest("#safety .segmented[role=group]");
    if (!group || !button.matches(":focus-visible")) return;
    const place = { path: location.pathname, name: group.getAttribute("aria-label"), at: groups().indexOf(group), verb: [...group.children].indexOf(button) };
    sessionStorage.setItem(KEY, JSON.stringify(place));
  });

  function giveBack() {
    const kept = JSON.parse(sessionStorage.getItem(KEY) || "null");
    sessionStorage.removeItem(KEY);
    if (!kept || kept.path !== location.pathname) return;
    const there = groups();
    const same = there[kept.at]?.getAttribute("aria-label") === kept.name ? there[kept.at] : there.find((each) => each.getAttribute("aria-label") === kept.name);
    const next = same || there[Math.min(kept.at, there.length - 1)];
    (next?.children[kept.verb] || document.querySelector("#finds nav a"))?.focus();
  }
  // After the browser has gone to the place that the address names, which takes the focus away.
  addEventListener("load", () => setTimeout(giveBack));
})();
