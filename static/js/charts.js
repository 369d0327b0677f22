// Curves on uPlot, shared by the job page and the comparison. `window.honeCharts`:
//   Curve          a run's figures as columns ordered by step; rows are put in by step, so a replayed step replaces
//   smooth(...)    exponential moving average that does not lean on the first value
//   Chart          one uPlot with our axes, linked cursor, epoch hairlines, labels at line ends, best as a ring
//   settings(form) x axis, smoothing and log axis, kept in the address
(() => {
  "use strict";
  const NAMES = [
    "time", "epoch", "trained_tokens", "train_loss", "train_accuracy", "learning_rate", "grad_norm", "tokens_per_second",
    "train_loss_mean", "train_accuracy_mean", "valid_loss", "valid_accuracy", "full_valid_loss", "full_valid_accuracy",
    // what a run learning from preferences tells besides; columns of nothing for any other
    "rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies", "valid_rewards/margins",
    "valid_rewards/accuracies", "full_valid_rewards/margins", "full_valid_rewards/accuracies",
  ];

  class Curve {
    constructor(payload = null) {
      this.step = payload ? payload.columns.step : [];
      this.columns = Object.fromEntries(NAMES.map((name) => [name, payload ? payload.columns[name] ?? payload.columns.step.map(() => null) : []]));
      this.whole = payload ? payload.whole : true;
    }
    get length() { return this.step.length; }

    // Rows as the socket sends them. Returns how many steps are new.
    put(fields, rows) {
      let added = 0;
      for (const values of rows) {
        const row = Object.fromEntries(fields.map((name, index) => [name, values[index]]));
        Object.assign(row, row.more);
        row.train_loss_mean = row.train_loss;
        row.train_accuracy_mean = row.train_accuracy;
        added += this.#place(row);
      }
      return added;
    }
    #place(row) {
      const at = this.indexOf(row.step);
      const there = this.step[at] === row.step;
      if (!there) this.step.splice(at, 0, row.step);
      for (const name of NAMES) {
        if (there) this.columns[name][at] = row[name] ?? null;
        else if (at === this.columns[name].length) this.columns[name].push(row[name] ?? null);
        else this.columns[name].splice(at, 0, row[name] ?? null);
      }
      return there ? 0 : 1;
    }
    // The place of this step, or where it would be put.
    indexOf(step) {
      let low = 0, high = this.step.length;
      if (high && this.step[high - 1] < step) return high;
      while (low < high) { const middle = (low + high) >> 1; if (this.step[middle] < step) low = middle + 1; else high = middle; }
      return low;
    }
    // Where each row stands across: step, epoch, tokens trained on, or seconds since the first row.
    across(axis) {
      if (axis === "step") return this.step;
      const values = this.columns[{ epoch: "epoch", tokens: "trained_tokens", time: "time" }[axis]];
      const start = axis === "time" ? values.find((value) => value !== null) ?? 0 : 0;
      let last = 0;
      return values.map((value) => { if (value !== null) last = Math.max(last, value - start); return last; });
    }
    // The newest value at or before this place on the axis; null when there is none.
    valueAt(name, axis, place) {
      const values = this.columns[name], xs = this.across(axis);
      for (let i = values.length - 1; i >= 0; i--) if (xs[i] <= place && values[i] !== null) return values[i];
      return null;
    }
    last(name) { const values = this.columns[name]; for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null) return values[i]; return null; }
    bestIndex(name = "full_valid_loss") {
      let best = -1;
      this.columns[name].forEach((value, index) => { if (value !== null && (best < 0 || value < this.columns[name][best])) best = index; });
      return best;
    }
  }

  // `strength` 0..0.99 is the share kept over a two-hundredth of the run, so that a line looks alike for any number of
  // steps: at 80 it follows within about two per cent of the run. The steps of a run of less than a hundred are few, so
  // it is smoothed less still, or the line would hang above what it stands for.
  function smooth(values, steps, strength) {
    if (!strength) return values;
    const length = (steps.at(-1) ?? 0) - (steps[0] ?? 0);
    const unit = length < 100 ? Math.max(length, 1) / 100 : Math.max(1, length / 200);
    let sum = 0, weight = 0, before = null;
    return values.map((value, index) => {
      if (value === null) return null;
      const keep = before === null ? strength : Math.min(strength ** ((steps[index] - before) / unit), 1 - 1e-6);
      before = steps[index];
      sum = sum * keep + value * (1 - keep);
      weight = weight * keep + (1 - keep);
      return sum / weight;
    });
  }

  // ---- figures as text ----
  const significant = (value, digits = 4) => value === null || value === undefined ? "–" : Number(value.toPrecision(digits)).toString();
  const count = (value) => value === null || value === undefined ? "–" : Math.abs(value) >= 1e9 ? `${significant(value / 1e9, 3)} B` : Math.abs(value) >= 1e6 ? `${significant(value / 1e6, 3)} M` : Math.round(value).toLocaleString("en");
  const percent = (value) => value === null || value === undefined ? "–" : `${(value * 100).toFixed(1)} %`;
  const seconds = (value) => value < 60 ? `${Math.round(value)} s` : value < 3600 ? `${Math.floor(value / 60)} min ${String(Math.round(value % 60)).padStart(2, "0")} s` : `${Math.floor(value / 3600)} h ${String(Math.floor(value % 3600 / 60)).padStart(2, "0")} min`;
  const small = (value) => value === 0 ? "0" : Math.abs(value) < 0.001 ? value.toExponential(2).replace(/\.?0+e/, "e") : significant(value, 3);
  const AXES = {
    step: { label: "step", show: count, tick: (v) => v >= 10_000 ? `${significant(v / 1000, 3)} k` : count(v) },
    epoch: { label: "epoch", show: (v) => v.toFixed(2), tick: (v) => significant(v, 3) },
    tokens: { label: "tokens trained on", show: count, tick: (v) => v >= 1e6 ? `${significant(v / 1e6, 3)} M` : v >= 10_000 ? `${significant(v / 1000, 3)} k` : count(v) },
    time: { label: "time", show: seconds, tick: (v) => v < 60 ? `${significant(v, 3)} s` : v < 7200 ? `${significant(v / 60, 3)} min` : `${significant(v / 3600, 3)} h` },
  };
  const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 43200, 86400, 172800];

  const faint = (colour, share) => colour.replace(/^rgba?\(([^,]+), ([^,]+), ([^,)]+).*$/, `rgba($1, $2, $3, ${share})`);
  const token = (name) => window.hone.colour(name);

  // What the longest name at a line's end takes, with what is before and after it.
  function roomOf(names) {
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = "550 12px Inter, system-ui, sans-serif";
    return Math.ceil(Math.max(...names.map((name) => pen.measureText(name).width))) + 10 + 8;
  }

  class Chart {
    // series: [{label, colour, width, alpha, dots, dash, endLabel, hollow}]; the first data column is x.
    constructor(element, { series, height, axis, log = false, value = significant, sync = "hone", keepLow = null, onZoom, onCursor, zoom = null, marks = null, ring = null, end = null, extent = null }) {
      Object.assign(this, { element, axis, onZoom, onCursor, zoom, marks, ring, end, extent, log, keepLow });
      this.held = null;
      this.pending = null;
      const line = token("--line"), muted = token("--muted");
      this.colours = { line, muted, text: token("--text"), surface: token("--surface") };
      const room = series.some((each) => each.endLabel) ? Math.max(92, roomOf(series.map((each) => each.endLabel ?? ""))) : 16;
      const text = "12px Inter, system-ui, sans-serif";
      this.plot = new uPlot({
        width: Math.max(200, element.clientWidth), height, padding: [marks && height > 250 ? 20 : 12, room, 0, 0],
        legend: { show: false },
        cursor: {
          y: false, points: { size: 7 }, drag: { x: true, y: false, setScale: false },
          sync: { key: sync, setSeries: false, scales: ["x", null], filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
          bind: { dblclick: () => () => { this.onZoom?.(null); return null; } },
        },
        scales: { x: { time: false, range: (_, low, high) => this.#acrossRange(low, high) }, y: { distr: log ? 3 : 1, range: (_, low, high) => this.#upRange(low, high) } },
        axes: [
          { stroke: muted, font: text, size: 34, gap: 6, grid: { show: false }, ticks: { stroke: line, width: 1, size: 4 }, values: (_, ticks) => ticks.map((v) => v === null ? null : AXES[axis].tick(v)), ...(axis === "time" ? { incrs: TIME_STEPS } : axis === "epoch" ? {} : { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 2e7, 5e7, 1e8, 2e8, 5e8, 1e9] }), space: 90 },
          { stroke: muted, font: text, size: 58, gap: 6, grid: { stroke: line, width: 1 }, ticks: { show: false }, values: (_, ticks) => ticks.map((v) => v === null ? null : value(v)), space: height < 200 ? 30 : 44 },
        ],
        series: [{}, ...series.map((each) => this.#series(each))],
        hooks: {
          drawClear: [(u) => this.#drawMarks(u)],
          draw: [(u) => { this.#drawRing(u); this.#drawEnds(u, series); this.drawn?.(); }],
          setSelect: [(u) => this.#selected(u)],
          setCursor: [(u) => this.onCursor?.(u.cursor.idx ?? null)],
        },
      }, [[], ...series.map(() => [])], element);
      this.resizer = new ResizeObserver(() => { if (element.clientWidth) this.plot.setSize({ width: element.clientWidth, height }); });
      this.resizer.observe(element);
    }
    #series({ colour, width = 1.5, alpha = 1, dots = 0, dash, hollow = false, join = true, label }) {
      const stroke = alpha < 1 ? faint(colour, alpha) : colour;
      return {
        label, stroke, width, dash, spanGaps: true, paths: join ? undefined : () => null,
        points: dots ? { show: true, size: dots, stroke, fill: hollow ? this.colours.surface : stroke, width: hollow ? 1.5 : 0 } : { show: false },
      };
    }
    #acrossRange(low, high) {
      if (this.zoom) return this.zoom;
      if (low === null || high === null) return [0, 1];
      const start = Math.min(0, low);
      const far = this.extent?.();  // of all charts below each other: one with a single point would be twice as wide
      if (far) return [start, far];
      if (!this.end) return [start, high > start ? high : start + 1];
      // while it grows, the axis moves only when it must, and then leaves room
      if (!this.far || high > this.far) this.far = Math.min(this.end(), Math.max(high * 1.3, 10));
      return [start, Math.max(high, this.far)];
    }
    #upRange(low, high) {
      if (low === null || high === null) return this.log ? [0.1, 1] : [0, 1];
      if (this.log) return uPlot.rangeLog(Math.max(low, 1e-8), Math.max(high, 1e-8), 10, false);
      const room = (high - low || Math.abs(high) || 1) * 0.06;
      const wanted = [this.keepLow === null ? low - room : Math.min(this.keepLow, low), high + room];
      const held = this.held;
      const fits = held && wanted[0] >= held[0] && wanted[1] <= held[1] && (wanted[1] - wanted[0]) > 0.55 * (held[1] - held[0]);
      return fits ? held : (this.held = wanted);
    }
    set(data) { this.plot.setData(data); }
    setZoom(zoom) { this.zoom = zoom; this.held = null; this.plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false); }
    destroy() { this.resizer.disconnect(); this.plot.destroy(); }

    #selected(u) {
      if (u.select.width < 6) return;
      const zoom = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
      u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      this.onZoom?.(zoom);
    }
    #drawMarks(u) {
      const places = this.marks?.() ?? [];
      if (!places.length) return;
      const { ctx, bbox } = u;
      const positions = places.map(({ at, label }) => ({ x: Math.round(u.valToPos(at, "x", true)) + 0.5, label })).filter(({ x }) => x > bbox.left && x <= bbox.left + bbox.width + 1);
      const every = Math.max(1, Math.ceil(positions.length / 40));
      const gap = positions.length > 1 ? (positions[1].x - positions[0].x) * every : Infinity;
      ctx.save();
      ctx.strokeStyle = this.colours.line;
      ctx.fillStyle = this.colours.muted;
      ctx.lineWidth = devicePixelRatio;
      ctx.font = `${11 * devicePixelRatio}px Inter, system-ui, sans-serif`;
      ctx.textAlign = "right";
      ctx.textBaseline = "bottom";
      positions.forEach(({ x, label }, index) => {
        if ((index + 1) % every) return;
        ctx.beginPath(); ctx.moveTo(x, bbox.top); ctx.lineTo(x, bbox.top + bbox.height); ctx.stroke();
        if (label && gap > 70 * devicePixelRatio && u.height > 250) ctx.fillText(label, x - 4 * devicePixelRatio, bbox.top - 4 * devicePixelRatio);  // above the plot, where no grid line is
      });
      ctx.restore();
    }
    #drawRing(u) {
      const place = this.ring?.();
      if (!place) return;
      const x = u.valToPos(place[0], "x", true), y = u.valToPos(place[1], "y", true);
      if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) return;
      u.ctx.save();
      u.ctx.strokeStyle = this.colours.text;
      u.ctx.lineWidth = 1.5 * devicePixelRatio;
      u.ctx.beginPath(); u.ctx.arc(x, y, 8 * devicePixelRatio, 0, 2 * Math.PI); u.ctx.stroke();
      u.ctx.restore();
    }
    #drawEnds(u, series) {
      const right = u.bbox.left + u.bbox.width;
      const labels = [];
      series.forEach((each, index) => {
        if (!each.endLabel) return;
        const values = u.data[index + 1], xs = u.data[0];
        for (let i = values.length - 1; i >= 0; i--) {
          if (values[i] === null || values[i] === undefined || xs[i] > u.scales.x.max) continue;
          if (xs[i] < u.scales.x.min) break;
          labels.push({ text: each.endLabel, colour: each.colour, x: Math.min(u.valToPos(xs[i], "x", true), right), y: u.valToPos(values[i], "y", true) });
          break;
        }
      });
      if (!labels.length) return;
      labels.sort((a, b) => a.y - b.y);
      const apart = 15 * devicePixelRatio;
      labels.forEach((label, index) => { if (index && label.y - labels[index - 1].y < apart) label.y = labels[index - 1].y + apart; });
      let floor = u.bbox.top + u.bbox.height - apart / 2; // and none stands on the numbers of the axis
      for (const label of [...labels].reverse()) { label.y = Math.min(label.y, floor); floor = label.y - apart; }
      u.ctx.save();
      u.ctx.font = `550 ${12 * devicePixelRatio}px Inter, system-ui, sans-serif`;
      u.ctx.textBaseline = "middle";
      u.ctx.textAlign = "left";
      u.ctx.lineJoin = "round";
      u.ctx.lineWidth = 4 * devicePixelRatio;
      u.ctx.strokeStyle = this.colours.surface; // a line may end before others: its name stands on their curves
      for (const label of labels) {
        const x = Math.max(label.x, u.bbox.left) + 10 * devicePixelRatio;
        u.ctx.fillStyle = label.colour;
        u.ctx.strokeText(label.text, x, label.y);
        u.ctx.fillText(label.text, x, label.y);
      }
      u.ctx.restore();
    }
    png(name) {
      const from = this.plot.ctx.canvas, to = document.createElement("canvas");
      Object.assign(to, { width: from.width, height: from.height });
      const ctx = to.getContext("2d");
      ctx.fillStyle = this.colours.surface;
      ctx.fillRect(0, 0, to.width, to.height);
      ctx.drawImage(from, 0, 0);
      Object.assign(document.createElement("a"), { href: to.toDataURL("image/png"), download: name }).click();
    }
  }

  // The form above the charts. Values live in the address, so that a link shows the same picture.
  function settings(form, change) {
    const usual = { x: "step", smooth: form.smooth.defaultValue, log: "" };
    const given = new URLSearchParams(location.search);
    if (AXES[given.get("x")]) form.x.value = given.get("x");
    if (given.has("smooth")) form.smooth.value = given.get("smooth");
    form.log.checked = given.get("log") === "1";
    const read = () => ({ axis: form.x.value, smoothing: Math.min(0.99, form.smooth.value / 100), log: form.log.checked });
    const show = () => { form.smooth_value.value = form.smooth.value; };
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", (event) => {
      show();
      const address = new URL(location.href);
      for (const [name, value] of Object.entries({ x: form.x.value, smooth: form.smooth.value, log: form.log.checked ? "1" : "" }))
        if (value === usual[name]) address.searchParams.delete(name); else address.searchParams.set(name, value);
      history.replaceState(history.state, "", address);
      change(read(), event.target.name);
    });
    show();
    return read();
  }

  window.honeCharts = { Curve, Chart, smooth, settings, significant, count, percent, seconds, small, AXES, token };
})();
