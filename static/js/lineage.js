// The lineage of one job: the drawing is often wider than the window, so that it is moved until the job stands in the
// middle. The link "What … was made of" leads to it by keyboard; Tab goes on from there.
(() => {
  "use strict";
  const wrap = document.querySelector(".lineage-wrap");
  const here = document.querySelector("#drawn-here");
  if (!wrap || !here || location.hash) return;
  const frame = wrap.getBoundingClientRect();
  const node = here.getBoundingClientRect();
  wrap.scrollLeft += node.left + node.width / 2 - frame.left - frame.width / 2;
  wrap.scrollTop += node.top + node.height / 2 - frame.top - frame.height / 2;
})();
