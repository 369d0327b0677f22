// Several jobs' curves over each other, each in its own run colour.
(() => {
  "use strict";
  const { Curve, Chart, smooth, settings, significant, AXES, token } = window.honeCharts;
  const jobs = [...document.querySelectorAll("[data-job]")].map((element) => ({ ...element.dataset, curve: new Curve() }));
  const reset = document.getElementById("zoom-reset");
  let view = null, zoom = null, charts = {}, data = {};

  // What all names begin with tells nothing apart; of a long name both ends are kept.
  const words = jobs.map((job) => job.name.split(" "));
  const same = words[0]?.findIndex((word, at) => words.some((each) => each[at] !== word || each.length === at + 1)) ?? 0;
  const rest = (from) => words.map((word) => word.slice(from).join(" "));
  let from = Math.max(0, same);
  while (from && rest(from).some((text) => !/\p{L}/u.test(text))) from -= 1;  // a number alone is no name
  const short = (name) => { const text = name.split(" ").slice(from).join(" "); return text.length > 22 ? `${text.slice(0, 10)}…${text.slice(-11)}` : text; };
  const joined = (columns) => uPlot.join(jobs.map((job) => {
    const xs = job.curve.across(view.axis), ys = columns(job.curve), kept = [[], []];
    ys.forEach((value, index) => { if (value !== null && (!kept[0].length || xs[index] > kept[0].at(-1))) { kept[0].push(xs[index]); kept[1].push(value); } });
    return kept;
  }));

  function build() {
    Object.values(charts).forEach((chart) => chart.destroy());
    const seen = new Map();  // two jobs of one colour are told apart by their dashes
    const styles = jobs.map((job) => { const nth = seen.get(job.run) ?? 0; seen.set(job.run, nth + 1); return { label: job.name, colour: token(job.run), dash: nth ? [3 + 4 * nth, 3] : undefined, endLabel: jobs.length <= 5 ? short(job.name) : "" }; });
    const common = { axis: view.axis, log: view.log, value: (v) => significant(v, 3), zoom, onZoom: applyZoom, extent: () => Math.max(0, ...Object.values(data).map((columns) => columns[0].at(-1) ?? 0)) };
    charts = {
      full: new Chart(document.querySelector('[data-chart="full"]'), { ...common, height: 260, series: styles.map((style) => ({ ...style, width: 1.5, dots: 7, hollow: true })), onCursor: (index) => readout("full", index) }),
      train: new Chart(document.querySelector('[data-chart="train"]'), { ...common, height: 260, series: styles.map((style) => ({ ...style, width: 1.75 })), onCursor: (index) => readout("train", index) }),
    };
    draw();
  }
  function draw() {
    data = { full: joined((curve) => curve.columns.full_valid_loss), train: joined((curve) => smooth(curve.columns.train_loss_mean, curve.step, view.smoothing)) };
    for (const [key, chart] of Object.entries(charts)) { chart.set(data[key]); readout(key, null); }
  }
  // Figures are raw, as on a job's own page; smoothing is for the drawn line only.
  const FIELDS = { full: "full_valid_loss", train: "train_loss" };
  function readout(key, index) {
    const at = index ?? (data[key]?.[0].length ?? 0) - 1;
    if (at < 0) return;
    const place = data[key][0][at];
    const told = jobs.map((job) => {
      const each = document.createElement("span"), dot = document.createElement("span"), figure = document.createElement("b");
      each.className = `readout__run ${job.run.replace(/^--/, "")}`;
      dot.className = "dot";
      figure.textContent = significant(job.curve.valueAt(FIELDS[key], view.axis, index === null ? Infinity : place));
      each.append(dot, ` ${short(job.name)}: `, figure);
      return each;
    });
    const where = index === null ? "at the end" : `${AXES[view.axis].label} ${AXES[view.axis].show(place)}`;
    document.querySelector(`[data-readout="${key}"]`).replaceChildren(where, ...told);
  }
  function applyZoom(range) {
    zoom = range;
    reset.hidden = !range;
    Object.values(charts).forEach((chart) => chart.setZoom(range));
    draw();
  }
  reset.addEventListener("click", () => applyZoom(null));

  async function load() {
    await Promise.all(jobs.map(async (job) => {
      const answer = await fetch(`${job.metrics}?points=1500`).catch(() => null);
      if (answer?.ok) job.curve = new Curve(await answer.json());
    }));
    build();
    document.getElementById("compare").dataset.ready = "1";
  }
  view = settings(document.getElementById("chart-controls"), (now, changed) => {
    view = now;
    if (changed === "smooth") return draw();
    if (changed === "x") { zoom = null; reset.hidden = true; }
    build();
  });
  load();
  document.addEventListener("hone:theme", build);
  let later = 0;
  document.body.addEventListener("hone:news", (event) => {
    if (event.detail?.changed?.includes("jobs")) { clearTimeout(later); later = setTimeout(load, 1500); }
  });
})();
