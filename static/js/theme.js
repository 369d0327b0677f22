// Runs before the first paint, so that a chosen theme never flashes.
(() => {
  const choice = localStorage.getItem("hone-theme");
  if (choice === "light" || choice === "dark") document.documentElement.dataset.theme = choice;
})();
