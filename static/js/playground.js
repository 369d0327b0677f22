// The playground's page: one socket, all columns. The socket brings text and says what changed; what a finished turn
// looks like is fetched from the server, so that nothing here can show what a blind page must not know.
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const root = $("#playground");
  const data = JSON.parse($("#playground-data").textContent);
  if (location.pathname === "/playground/blind/") history.replaceState(null, "", root.dataset.address);  // refused: this address takes no GET
  $("#keys-dialog .keys")?.append($("#playground-keys").content);

  const renderAnswer = (answer) => window.showAnswer($(".answer__raw", answer), $(".answer__shown", answer));
  const render = (cell) => $$(".answer:not([data-plain])", cell).forEach(renderAnswer);
  const renderAll = () => $$(".cell").forEach(render);
  renderAll();

  // Enter in the search: asks once more for what is written, then takes the only hit, or goes to the first of several.
  let entered = null;
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches(".picker input[type=search]")) return;
    event.preventDefault();
    entered = event.target;
    window.htmx.trigger(entered, "search");
  });
  root.addEventListener("input", () => { entered = null; });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (!entered || event.detail.target !== $(".picker__list", entered.closest(".picker"))) return;
    const hits = $$(".choice", event.detail.target);
    entered = null;
    if (hits.length === 1) hits[0].click(); else hits[0]?.focus();
  });

  if (!$("#sheets")) return;  // no column yet: the search is all there is
  const sheets = $("#sheets");
  const prompt = $("#prompt");
  const column = (index, within) => $(`.cell[data-column="${index}"]`, within);
  const lastTurn = () => $$(".turn").at(-1);

  // ---- what the page is set to ----
  const KEEP = "hone-playground";
  const kept = () => { try { return JSON.parse(sessionStorage.getItem(KEEP)) || {}; } catch { return {}; } };
  const keep = (values) => sessionStorage.setItem(KEEP, JSON.stringify({ ...kept(), ...values }));
  const setup = data.setup && { ...data.setup };
  if (setup && !data.comparison && !new URLSearchParams(location.search).has("from")) {
    const { system, settings, own, tools, response_format } = kept();
    Object.assign(setup, { system: system ?? setup.system, settings: { ...setup.settings, ...settings }, own: own ?? {} });
    Object.assign(setup, { tools: tools ?? setup.tools, response_format: response_format ?? setup.response_format });
  }
  if (prompt && kept().prompt) prompt.value = kept().prompt;

  function showSetup() {
    if (!setup || !$("#system")) return;
    $("#system").value = setup.system;
    setup.settings.n ??= 1;  // comparisons of before samples
    for (const input of $$("[data-setting]")) input.value = setup.settings[input.dataset.setting] ?? "";
    for (const area of $$("[data-structure]")) area.value = setup[area.dataset.structure];
    showHints();
  }
  function showHints() {
    if (!setup || !$("#system")) return;
    const { temperature, top_p, max_tokens, seed, n } = setup.settings;
    const seeded = seed !== null && seed !== undefined;
    $("[data-system-hint]").textContent = setup.system.trim() || "none";
    $("[data-settings-hint]").textContent = `temperature ${temperature} · top p ${top_p} · up to ${max_tokens} tokens${n > 1 ? ` · ${n} samples each` : ""}`;
    $("#same-seed").checked = seeded;
    $("[data-seed-words]").textContent = seeded ? `Same seed in every column: ${seed}` : "A new seed each time";
    const structure = [setup.tools.trim() && "tools", setup.response_format.trim() && "answer format"].filter(Boolean);
    $("[data-structure-hint]").textContent = structure.join(", ") || "none";
    setup.models.forEach((model, index) => {
      const words = $(`.sheet[data-column="${index}"] [data-own-words]`);
      if (!words) return;
      words.textContent = ownWords(setup.own[model]).join(" · ");
      words.hidden = !words.textContent;
    });
    keep({ system: setup.system, settings: setup.settings, own: setup.own, tools: setup.tools, response_format: setup.response_format });
  }
  // What a column has otherwise than all, in the words of playground/sheets.py (own_words).
  const NAMES = { temperature: "temperature", top_p: "top p", max_tokens: "longest answer", seed: "seed" };
  function counted(text) {
    const words = text.split(/\s+/).filter(Boolean).length;
    return words ? `${words.toLocaleString("en")} word${words === 1 ? "" : "s"}` : "none";
  }
  function ownWords(own) {
    if (!own) return [];
    const words = [];
    if (own.system !== undefined && own.system !== null) words.push(`${own.system.trim() ? `system prompt ${counted(own.system)}` : "no system prompt"} (all: ${counted(setup.system)})`);
    for (const [name, value] of Object.entries(own.settings || {})) if (value !== null) words.push(`${NAMES[name]} ${value} (all: ${setup.settings[name] ?? "new"})`);
    return words;
  }
  const asSetup = () => ({
    columns: setup.models.map((model) => ({ ...setup.own[model], model })),
    system: setup.system, settings: setup.settings, tools: setup.tools, response_format: setup.response_format,
  });
  $("#system")?.addEventListener("input", (event) => { setup.system = event.target.value; showHints(); });
  for (const input of $$("[data-setting]")) {
    input.addEventListener("input", () => {
      if (!input.validity.valid) return;
      setup.settings[input.dataset.setting] = input.value === "" ? null : Number(input.value);
      showHints();
    });
  }
  for (const area of $$("[data-structure]")) {
    area.addEventListener("input", () => { setup[area.dataset.structure] = area.value; $("#structure-fault").hidden = true; showHints(); });
  }
  let lastSeed = 1;
  $("#same-seed")?.addEventListener("change", (event) => {
    const field = $("[data-setting=seed]");
    if (!event.target.checked) lastSeed = setup.settings.seed ?? lastSeed;
    field.value = event.target.checked ? lastSeed : "";
    field.dispatchEvent(new Event("input"));
  });
  prompt?.addEventListener("input", () => keep({ prompt: prompt.value }));

  // ---- a column's own prompt and settings ----
  let ownModel = null;
  function openOwn(index) {
    ownModel = setup.models[index];
    const own = setup.own[ownModel] || {};
    $("#own-title").textContent = `Only in column ${"ABCDEFGH"[index]}`;
    $("#own-system-on").checked = own.system !== undefined && own.system !== null;
    $("#own-system").value = own.system ?? setup.system;
    $("#own-system").disabled = $("#own-difference").disabled = !$("#own-system-on").checked;
    $("#own-differences").replaceChildren();
    for (const input of $$("[data-own-setting]")) input.value = own.settings?.[input.dataset.ownSetting] ?? "";
    $("#own").showModal();
  }
  $("#own-system-on")?.addEventListener("change", (event) => { $("#own-system").disabled = $("#own-difference").disabled = !event.target.checked; });
  $("#own-difference")?.addEventListener("click", () => {
    window.htmx.ajax("POST", "/playground/difference/", { target: "#own-differences", swap: "innerHTML", values: { shared: setup.system, own: $("#own-system").value } });
  });
  $("#own")?.addEventListener("close", () => {
    const verb = $("#own").returnValue;
    $("#own").returnValue = "";
    if (verb === "clear") delete setup.own[ownModel];
    if (verb === "use") {
      const settings = Object.fromEntries($$("[data-own-setting]").filter((input) => input.value !== "").map((input) => [input.dataset.ownSetting, Number(input.value)]));
      const own = {};
      if ($("#own-system-on").checked) own.system = $("#own-system").value;
      if (Object.keys(settings).length) own.settings = settings;
      if (Object.keys(own).length) setup.own[ownModel] = own; else delete setup.own[ownModel];
    }
    showHints();
  });

  // ---- the socket ----
  let socket;
  let wait = 500;
  let running = new Set();
  let waitingWords = "";
  let unsent = null;
  let retried = [];  // columns that are emptied and that the server may still refuse to ask again

  function connect() {
    socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/playground/`);
    socket.onopen = () => {
      wait = 500;
      say({ type: "open", ...(data.comparison ? { comparison: data.comparison } : { models: setup.models }) });
      if (unsent) { progress(""); say(unsent); unsent = null; }
      if (running.size) { setRunning([]); refetch(); }  // the answers were stopped and stored when the line broke
    };
    socket.onmessage = (message) => { const frame = JSON.parse(message.data); HEARD[frame.type]?.(frame); };
    socket.onclose = (event) => {
      if (event.code === 4401 || event.code === 4403) { window.hone.toast("You were signed out. Reload the page.", "bad"); return; }
      if (running.size) progress("The connection broke. The answers stopped; connecting again…");
      setTimeout(connect, wait);
      wait = Math.min(wait * 2, 15_000);
    };
  }
  // A message that is sent while the line is being made goes out as soon as it stands; the rest is worth nothing later.
  function say(frame) {
    if (socket.readyState === WebSocket.OPEN) { socket.send(JSON.stringify(frame)); return true; }
    if (frame.type === "send") { unsent = frame; progress("Connecting to the server…"); return true; }
    window.hone.toast("Not connected to the server. Trying again.", "warn");
    return false;
  }

  const HEARD = {
    states({ columns }) {
      columns.forEach(({ state, words, verified }, index) => {
        const head = $(`.sheet[data-column="${index}"]`);
        const chip = $("[data-state]", head);
        if (chip) { chip.className = `chip chip--${state}`; chip.textContent = STATES[state]; }
        const line = $("[data-words]", head);
        if (line) { line.textContent = words; line.hidden = !words; }
        const mark = $("[data-verified]", head);
        if (mark) mark.hidden = !verified;
        if (running.has(index)) setWaiting(column(index, lastTurn()), state === "ready" || state === "external" ? "Reading the prompt" : words || STATES[state]);
      });
    },
    waiting({ ready, of }) {
      waitingWords = ready < of ? `${ready} of ${of} models are loaded.` : "";
      if (!running.size) progress(waitingWords);
    },
    started({ comparison, address, turn, prompt: text }) {
      if (data.comparison !== comparison) {
        data.comparison = comparison;
        root.dataset.address = address;
        const looked = new URLSearchParams([...new URLSearchParams(location.search)].filter(([name]) => LOOKS.has(name)));
        history.replaceState(null, "", looked.size ? `${address}?${looked}` : address);
        $("[data-new-prompt]")?.toggleAttribute("hidden", false);
      }
      prompt.value = "";
      keep({ prompt: "" });
      addTurn(turn, text);
      setRunning(Array.from({ length: data.columns }, (_, index) => index));
    },
    text({ columns }) {
      retried = [];
      const followed = sheets.scrollHeight - sheets.scrollTop - sheets.clientHeight < 80;
      for (const [index, piece] of Object.entries(columns)) {
        const cell = column(index, lastTurn());
        $(".answer__raw", cell).append(piece);
        setWaiting(cell, "");
        stale.add(cell);
      }
      requestAnimationFrame(() => { stale.forEach(render); stale.clear(); if (followed) sheets.scrollTop = sheets.scrollHeight; });
    },
    finished({ column: index, figures, error }) {
      retried = [];
      const cell = column(index, lastTurn());
      running.delete(index);
      setWaiting(cell, "");
      $("[data-figures]", cell).textContent = figures;
      $("[data-error]", cell).textContent = error;
      $(".cell__error", cell).hidden = !error;
      $("[data-stop]", cell).hidden = true;
      cell.classList.remove("cell--running");
      $("[data-retry]", cell)?.toggleAttribute("hidden", false);
    },
    progress({ finished, of }) { progress(`${finished} of ${of} answers are there. All appear together. ${waitingWords}`); },
    settled() { setRunning([]); refetch(); },
    error({ message, param }) {
      window.hone.toast(message, "bad");
      if (retried.length) { setRunning([...running].filter((index) => !retried.includes(index))); retried = []; if (!running.size) refetch(); }
      if (!/\.(tools|response_format)$/.test(param) || !$("#structure-fold")) return;
      $("#structure-fold").open = true;
      $("#structure-fault").textContent = message;
      $("#structure-fault").hidden = false;
      $(`[data-structure=${param.split(".").at(-1)}]`).focus();
    },
  };
  const STATES = { off: "Not loaded", queued: "Waiting", loading: "Loading", ready: "Ready", failed: "Failed", external: "External, not verified" };
  const LOOKS = new Set(["fold", "diff"]);  // what the address says of how one looks (playground/looks.py)
  const stale = new Set();

  function addTurn(position, text) {
    const turn = $("#turn-template").content.cloneNode(true).firstElementChild;
    turn.dataset.turn = position;
    $(".turn__prompt p", turn).textContent = text;
    $(".turns__none")?.remove();
    $$("[data-retry]").forEach((button) => { button.hidden = true; });
    $("#foot").replaceChildren();
    $("#turns").append(turn);
    sheets.scrollTop = sheets.scrollHeight;
  }
  function setWaiting(cell, words) {
    const line = $(".cell__waiting", cell);
    line.dataset.words = words;
    line.hidden = !words || $(".answer__raw", cell).textContent !== "";
    showWaiting(cell);
  }
  // What a column waits for and, after a few seconds, for how long; a model that loads can take minutes.
  function showWaiting(cell) {
    const line = $(".cell__waiting", cell);
    const seconds = Math.floor((Date.now() - cell.dataset.since) / 1000);
    const waited = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
    line.textContent = seconds < 5 || !line.dataset.words ? line.dataset.words : `${line.dataset.words} · ${waited}`;
  }
  setInterval(() => $$(".cell--running .cell__waiting[data-words]:not([hidden])").forEach((line) => showWaiting(line.closest(".cell"))), 1000);
  // Which columns of the last turn are answering now; those that begin are emptied.
  function setRunning(indexes) {
    const before = running;
    running = new Set(indexes);
    for (const cell of $$(".cell", lastTurn() || document.createElement("i"))) {
      const on = running.has(Number(cell.dataset.column));
      cell.classList.toggle("cell--running", on);
      $("[data-stop]", cell)?.toggleAttribute("hidden", !on);
      if (!on || before.has(Number(cell.dataset.column))) continue;
      cell.dataset.since = Date.now();
      $(".answer__raw", cell).textContent = $("[data-figures]", cell).textContent = $("[data-error]", cell).textContent = "";
      $(".answer__shown", cell).replaceChildren();
      $(".answer", cell).removeAttribute("data-plain");
      $$(".sample ~ .sample, .sample__number, .call, .schema, .cell__difference, [data-beside], [data-fewer]", cell).forEach((each) => each.remove());
      $(".cell__error", cell).hidden = true;
      $("[data-retry]", cell)?.toggleAttribute("hidden", true);
      const words = $(`.sheet[data-column="${cell.dataset.column}"] [data-words]`);
      setWaiting(cell, data.blind ? "Answering" : words && !words.hidden ? words.textContent : "Reading the prompt");
    }
    if ($("#send")) $("#send").hidden = running.size > 0;
    if ($("#stop-all")) $("#stop-all").hidden = running.size === 0;
    root.classList.toggle("playground--running", running.size > 0);
    if (data.blind && running.size) progress(`0 of ${data.columns} answers are there. All appear together. ${waitingWords}`);
    else progress(data.blind ? waitingWords : "");
  }
  function progress(words) {
    const line = $("#progress");
    if (!line) return;
    line.textContent = words;
    line.hidden = !words;
  }
  const refetch = () => window.htmx.ajax("GET", root.dataset.address, { target: "#arena", swap: "innerHTML" });
  document.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.target.id !== "arena") return;
    renderAll();
    showHints();
    if ($("[data-next]") && $("#desk")) { $("#desk").hidden = true; $("[data-next] button").focus({ preventScroll: true }); }
    sheets.scrollTop = sheets.scrollHeight;
  });

  // ---- pressing ----
  function send() {
    if (running.size || !prompt.value.trim()) { prompt.focus(); return; }
    const wrong = $$("[data-setting]").find((input) => !input.validity.valid);
    if (wrong) { $("#settings-fold").open = true; wrong.reportValidity(); return; }
    say({ type: "send", prompt: prompt.value, ...(setup && !data.blind ? { setup: asSetup() } : {}) });
  }
  function retry(index) {
    if (running.has(index) || (index === null && running.size)) return;
    const failed = $$(".cell", lastTurn()).filter((cell) => !$(".cell__error", cell).hidden || cell.classList.contains("cell--pending")).map((cell) => Number(cell.dataset.column));
    if (!say({ type: "retry", column: index })) return;
    $("#foot").replaceChildren();
    retried = index === null ? failed : [index];
    setRunning([...running, ...retried]);
  }
  const newPrompt = () => {
    const next = $("[data-next]");
    if (next) next.requestSubmit();
    else if (!data.blind && data.comparison) location.href = $("[data-new-prompt]")?.href || `/playground/?models=${setup.models.map(encodeURIComponent).join(",")}`;
    else prompt?.focus();
  };
  $("#desk")?.addEventListener("submit", (event) => { event.preventDefault(); send(); });
  $("#stop-all")?.addEventListener("click", () => say({ type: "stop", column: null }));
  $("#judge-blind")?.addEventListener("submit", (event) => {
    $("[name=setup]", event.target).value = JSON.stringify(asSetup());
    $("[name=comparison]", event.target).value = data.comparison ?? "";
  });
  root.addEventListener("click", (event) => {
    const target = event.target.closest("[data-stop], [data-retry], [data-retry-all], [data-own]");
    if (!target) return;
    const index = Number(target.closest("[data-column]")?.dataset.column);
    if (target.dataset.stop !== undefined) say({ type: "stop", column: index });
    else if (target.dataset.retryAll !== undefined) retry(null);
    else if (target.dataset.retry !== undefined) retry(index);
    else { target.closest("details").open = false; openOwn(Number(target.dataset.own)); }
  });
  document.addEventListener("keydown", (event) => {
    const enter = event.key === "Enter" && (event.ctrlKey || event.metaKey);
    if (enter && prompt && !$("dialog[open]") && !$("#desk").hidden) { event.preventDefault(); return send(); }
    if (event.key === "Escape" && event.target.closest("#desk")) return event.target.blur();
    if (event.target.closest("input:not([type=radio]), textarea, select, [contenteditable]") || event.ctrlKey || event.metaKey || event.altKey || event.repeat || $("dialog[open]")) return;
    const key = event.key.toLowerCase();
    const vote = $(`.vote[data-key="${CSS.escape(key)}"]`);
    if (vote && !vote.disabled) { event.preventDefault(); vote.click(); }
    else if (key === "n") { event.preventDefault(); newPrompt(); }
    else if (key === "r") root.classList.toggle("playground--raw");
    else if (key === "enter" && event.target === document.body) prompt?.focus();
  });

  showSetup();
  if (data.blind ? !data.setup : setup.models.length) connect();
  if (prompt && !lastTurn()) prompt.focus({ preventScroll: true });  // with answers, the keys are for them
  if (lastTurn()) sheets.scrollTop += lastTurn().getBoundingClientRect().top - $(".sheets__heads").getBoundingClientRect().bottom;
})();
