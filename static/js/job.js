// The job page: curves from metrics.json, then live rows by websocket. The database is the truth: rows carry their
// revision, are replaced by step, and after any break the socket is asked for what came after the last revision.
//   window.hone.drawn   [{step, time, drawnAt}] of live rows, unix seconds: written by the trainer, drawn on screen
(() => {
  "use strict";
  const { Curve, Chart, smooth, settings, significant, count, percent, small, AXES, token } = window.honeCharts;
  const root = document.getElementById("job");
  const { metrics, run, name } = root.dataset;
  const drawn = window.hone.drawn = [];
  const KEPT_DRAWN = 20_000;
  let view = null;            // what the form above the charts says
  let overview = new Curve(); // the whole run, live rows included
  let detail = null;          // the zoomed part in full resolution
  let zoom = null;
  let charts = {};
  let revision = 0;
  let fresh = [];             // live rows that wait for their frame
  let frame = 0;
  let hovered = null;
  let total = 0;

  const curve = () => detail ?? overview;
  const stepsAnEpoch = () => Number(root.dataset.epochSteps) || 0;

  // On a phone the lesser curves begin folded; everywhere else their summary is not shown, so they are open.
  const phone = matchMedia("(max-width: 640px)");
  const fold = () => { document.getElementById("more-charts").open = !phone.matches; };
  phone.addEventListener("change", fold);
  fold();

  // ---- drawing ----
  const PANELS = {
    loss: { height: () => innerWidth < 700 ? 260 : 340, value: (v) => significant(v, 3), columns: lossColumns },
    accuracy: { height: () => 170, value: (v) => `${Math.round(v * 100)} %`, columns: accuracyColumns },
    learning_rate: { height: () => 170, value: small, columns: plainColumn("learning_rate"), low: 0 },
    grad_norm: { height: () => 170, value: (v) => significant(v, 3), columns: plainColumn("grad_norm") },
    tokens_per_second: { height: () => 170, value: count, columns: plainColumn("tokens_per_second"), low: 0 },
  };
  if (document.querySelector('[data-chart="margins"]')) Object.assign(PANELS, {
    margins: { height: () => 170, value: (v) => significant(v, 3), columns: judgedColumns("rewards/margins") },
    preference: { height: () => 170, value: (v) => `${Math.round(v * 100)} %`, columns: judgedColumns("rewards/accuracies") },
    rewards: { height: () => 170, value: (v) => significant(v, 3), columns: (c) => [c.columns["rewards/chosen"], c.columns["rewards/rejected"]] },
  });
  const JUDGED = ["loss", "accuracy", "margins", "preference"];  // on training and on validation rows
  function judgedColumns(field) {
    return (c) => [c.columns[field], smooth(c.columns[field], c.step, view.smoothing), c.columns[`valid_${field}`], c.columns[`full_valid_${field}`]];
  }
  function lossColumns(c) {
    const { columns, step } = c;
    return [columns.train_loss, smooth(columns.train_loss_mean, step, view.smoothing), columns.valid_loss, columns.full_valid_loss];
  }
  function accuracyColumns(c) {
    const { columns, step } = c;
    return [columns.train_accuracy, smooth(columns.train_accuracy_mean, step, view.smoothing), columns.valid_accuracy, columns.full_valid_accuracy];
  }
  function plainColumn(field) { return (c) => [c.columns[field]]; }

  function seriesOf(key) {
    const ours = token(run), text = token("--text"), muted = token("--muted");
    if (key === "rewards") return [
      { label: "preferred", colour: ours, width: 1.5, endLabel: "preferred" },
      { label: "not preferred", colour: muted, width: 1.5, endLabel: "other" },
    ];
    if (!JUDGED.includes(key)) return [{ label: key, colour: ours, width: 1.5 }];
    const main = key === "loss";
    return [
      { label: "train", colour: ours, width: 1, alpha: view.smoothing ? 0.28 : 1 },
      { label: "train, smoothed", colour: ours, width: 2, endLabel: main ? "training" : "" },
      { label: "validation sample", colour: muted, join: false, dots: 4, alpha: 0.75 },
      { label: "full validation", colour: text, width: 1.25, dots: 8, dash: [4, 4], hollow: true, endLabel: main ? "validation" : "" },
    ];
  }
  function build() {
    Object.values(charts).forEach((chart) => chart.destroy());
    charts = {};
    for (const [key, panel] of Object.entries(PANELS)) {
      charts[key] = new Chart(document.querySelector(`[data-chart="${key}"]`), {
        series: seriesOf(key), height: panel.height(), axis: view.axis, log: view.log && (key === "loss" || key === "grad_norm"), value: panel.value,
        keepLow: panel.low ?? null, zoom, onZoom: applyZoom, onCursor: key === "loss" ? hover : null, marks: epochMarks,
        ring: key === "loss" ? best : null, end: root.dataset.final || view.axis !== "step" ? null : () => total || Infinity,
      });
    }
    charts.loss.drawn = noteDrawn;
    draw();
  }
  function draw() {
    const c = curve(), xs = c.across(view.axis);
    if (c.length) root.removeAttribute("data-no-steps");
    for (const [key, chart] of Object.entries(charts)) {
      chart.set([xs, ...PANELS[key].columns(c)]);
      chart.element.closest(".chart-block").hidden = key !== "loss" && neverComes(key);
    }
    readout();
  }
  // A run that is over and told nothing of it, as an imported one; while it runs the place is kept.
  function neverComes(key) {
    return Boolean(root.dataset.final) && overview.length > 0 && !PANELS[key].columns(overview).some((column) => column.some((value) => value !== null));
  }
  function nextFrame() { frame ||= requestAnimationFrame(() => { frame = 0; draw(); }); }
  function noteDrawn() {
    if (!fresh.length) return;
    const drawnAt = (performance.timeOrigin + performance.now()) / 1000;
    for (const { step, time } of fresh) if (drawn.length < KEPT_DRAWN) drawn.push({ step, time, drawnAt });
    fresh = [];
    root.dataset.points = String(overview.length);
    root.dataset.lastStep = String(overview.step.at(-1) ?? 0);
  }
  function epochMarks() {
    const each = stepsAnEpoch(), c = overview;
    if (!each || !c.length) return [];
    const xs = view.axis === "step" ? null : c.across(view.axis);
    const marks = [];
    for (let step = each, epoch = 1; step <= c.step.at(-1); step += each, epoch++) {
      const at = xs ? xs[Math.min(c.indexOf(step), xs.length - 1)] : step;
      marks.push({ at, label: `epoch ${epoch}` });
    }
    return marks;
  }
  function best() {
    const index = overview.bestIndex();
    return index < 0 ? null : [overview.across(view.axis)[index], overview.columns.full_valid_loss[index]];
  }

  // ---- the line of figures above each chart: under the pointer, else the newest ----
  function hover(index) { if (hovered !== index) { hovered = index; readout(); } }
  function readout() {
    const c = curve(), last = c.length - 1, at = hovered ?? last;
    if (at < 0 || at > last) return;
    const near = (field) => { for (let i = at; i >= 0; i--) if (c.columns[field][i] !== null) return c.columns[field][i]; return null; };
    const place = `${AXES[view.axis].label} ${AXES[view.axis].show(c.across(view.axis)[at])}`;
    const said = {
      loss: [hovered === null ? "" : place, `train ${significant(near("train_loss"))}`, near("valid_loss") !== null && `sample ${significant(near("valid_loss"))}`, near("full_valid_loss") !== null && `validation ${significant(near("full_valid_loss"))}`],
      accuracy: [`train ${percent(near("train_accuracy"))}`, near("full_valid_accuracy") !== null && `validation ${percent(near("full_valid_accuracy"))}`],
      learning_rate: [small(near("learning_rate") ?? 0)],
      grad_norm: [significant(near("grad_norm"))],
      tokens_per_second: [count(near("tokens_per_second"))],
      margins: [`train ${significant(near("rewards/margins"))}`, near("full_valid_rewards/margins") !== null && `validation ${significant(near("full_valid_rewards/margins"))}`],
      preference: [`train ${percent(near("rewards/accuracies"))}`, near("full_valid_rewards/accuracies") !== null && `validation ${percent(near("full_valid_rewards/accuracies"))}`],
      rewards: [`preferred ${significant(near("rewards/chosen"))}`, `other ${significant(near("rewards/rejected"))}`],
    };
    for (const [key, words] of Object.entries(said)) if (PANELS[key]) document.querySelector(`[data-readout="${key}"]`).textContent = c.length ? words.filter(Boolean).join(" · ") : "";
  }
  function summary() {
    const index = overview.bestIndex();
    const words = [document.getElementById("headline")?.textContent ?? "", `Training loss is ${significant(overview.last("train_loss"))} at step ${count(overview.step.at(-1) ?? 0)}.`];
    if (index >= 0) words.push(`The lowest loss over the whole validation set is ${significant(overview.columns.full_valid_loss[index])} at step ${count(overview.step[index])}.`);
    document.getElementById("chart-summary").textContent = words.join(" ");
  }

  // ---- zoom: at once with what is there, then in full resolution ----
  const reset = document.getElementById("zoom-reset");
  let zooms = 0;
  async function applyZoom(range) {
    const mine = ++zooms;
    zoom = range;
    detail = null;
    reset.hidden = !range;
    Object.values(charts).forEach((chart) => chart.setZoom(range));
    draw();
    if (!range || overview.whole) return;
    const xs = overview.across(view.axis), inside = overview.step.filter((_, index) => xs[index] >= range[0] && xs[index] <= range[1]);
    if (!inside.length) return;
    const answer = await fetch(`${metrics}?from=${inside[0]}&to=${inside.at(-1)}`);
    if (!answer.ok || mine !== zooms) return;
    detail = new Curve(await answer.json());
    if (view.axis === "time") { // seconds since the first row of the run, not of this part
      const start = overview.columns.time.find((value) => value !== null) ?? 0;
      const own = detail.columns.time;
      detail.across = (axis) => axis === "time" ? own.map((value) => (value ?? start) - start) : Curve.prototype.across.call(detail, axis);
    }
    draw();
  }
  reset.addEventListener("click", () => applyZoom(null));
  document.getElementById("chart-png").addEventListener("click", () => charts.loss.png(`${name}-loss.png`));

  // ---- the socket ----
  const badge = document.getElementById("connection");
  const WORDS = { connecting: "connecting", live: "live", done: "up to date", lost: "reconnecting", gone: "deleted" };
  const SILENCE_MS = 45_000;  // the server says something every 15 s
  const PARTS = ["header", "checkpoints", "film", "events"];
  let socket = null, wait = 500, heard = 0, retry = 0, gone = false;
  let seen = root.dataset.seen;  // what the page was drawn from; after a break the socket tells of every part

  function show(state) {
    const word = state === "live" && root.dataset.final ? "done" : state;
    badge.dataset.state = word;
    badge.firstElementChild.textContent = WORDS[word];
  }
  function connect() {
    clearTimeout(retry);
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const mine = socket = new WebSocket(`${scheme}://${location.host}/ws/jobs/${root.dataset.job}/?after=${revision}&seen=${seen}`);
    mine.onopen = () => { wait = 500; heard = Date.now(); show("live"); seen = "nothing.0"; };
    mine.onmessage = (message) => { heard = Date.now(); receive(JSON.parse(message.data)); };
    mine.onclose = () => {
      if (mine !== socket || gone) return;
      show("lost");
      retry = setTimeout(connect, wait * (0.7 + Math.random() * 0.6));
      wait = Math.min(wait * 2, 15_000);
    };
  }
  function receive(message) {
    if (message.rows) take(message.fields, message.rows);
    if (message.state) state(message.state);
    for (const part of message.changed ?? []) refresh(part);
    if (message.gone) { gone = true; show("gone"); window.hone.toast("This job was deleted.", "warn"); }
  }
  function take(fields, rows) {
    const at = Object.fromEntries(fields.map((field, index) => [field, index]));
    overview.put(fields, rows);
    revision = rows.at(-1)[at.revision];
    for (const row of rows) fresh.push({ step: row[at.step], time: row[at.time] });
    nextFrame();
  }
  function state(now) {
    total = now.total_steps;
    const final = ["succeeded", "failed", "cancelled"].includes(now.status);
    if (final && !root.dataset.final) { root.dataset.final = "1"; build(); }
    root.dataset.status = now.status;
    show("live");
    summary();
  }
  const refresh = (part) => document.body.dispatchEvent(new CustomEvent(`hone:${part}`));
  function wake() { // after sleep a socket can look open and be dead
    if (document.hidden || gone) return;
    if (!socket || socket.readyState > 1 || Date.now() - heard > SILENCE_MS) { socket?.close(); wait = 500; connect(); }
    PARTS.forEach(refresh);
  }
  document.addEventListener("visibilitychange", wake);
  addEventListener("online", wake);
  setInterval(() => { if (!gone && socket?.readyState === 1 && Date.now() - heard > SILENCE_MS) socket.close(); }, 5000);

  // ---- parts that htmx fetches again ----
  document.body.addEventListener("htmx:afterSwap", (event) => {
    const tab = document.getElementById("tab-body")?.dataset.tabOpen;
    for (const link of document.querySelectorAll("[data-tab]")) if (link.dataset.tab === tab) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    if (event.detail.target.id === "job-head") summary();
  });
  let marked = null;  // a fresh table must not undo a person's marks
  document.body.addEventListener("htmx:beforeSwap", (event) => { if (event.detail.target.id === "checkpoints") marked = new Map([...document.querySelectorAll("#checkpoints input[name=models]")].map((box) => [box.id, box.checked])); });
  document.body.addEventListener("htmx:afterSettle", () => {
    if (!marked) return;
    for (const box of document.querySelectorAll("#checkpoints input[name=models]")) if (marked.has(box.id)) box.checked = marked.get(box.id);
    marked = null;
  });

  // ---- start ----
  let ghosted = true;  // the raw line is faint while there is a smoothed one over it
  view = settings(document.getElementById("chart-controls"), (now, changed) => {
    view = now;
    if (changed === "smooth" && Boolean(now.smoothing) === ghosted) return draw();
    if (changed === "x") { zoom = null; detail = null; reset.hidden = true; }
    build();
    ghosted = Boolean(now.smoothing);
  });
  async function start() {
    const answer = await fetch(metrics).catch(() => null);
    if (answer?.ok) {
      const payload = await answer.json();
      overview = new Curve(payload);
      revision = payload.revision;
      root.dataset.bytes = answer.headers.get("Content-Length") ?? "";
    } else window.hone.toast("The figures could not be fetched; they come with the live connection.", "warn");
    build();
    root.dataset.points = String(overview.length);
    root.dataset.drawn = String(Math.round(performance.now()));
    summary();
    connect();
  }
  start();
  document.addEventListener("hone:theme", build);
  document.fonts?.ready.then(() => Object.values(charts).forEach((chart) => chart.plot?.redraw(false)));
})();
