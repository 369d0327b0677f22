// Uploads: choose or drop files; 8 MiB pieces, each at an offset the server confirms, so that a broken line or a
// reload goes on where it was. Without this script the same form posts the file in one piece.
(() => {
  "use strict";
  const form = document.getElementById("upload-form");
  const input = document.getElementById("upload-input");
  const list = document.getElementById("uploads");
  const drop = document.getElementById("drop");
  const CHUNK = Number(form.dataset.chunkBytes);
  const token = form.querySelector("[name=csrfmiddlewaretoken]").value;
  const RETRY_SECONDS = [1, 2, 4, 8, 15, 30];
  document.documentElement.classList.add("scripted");

  const size = (bytes) => {
    for (const [limit, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) if (bytes >= limit) return `${(bytes / limit).toPrecision(3)} ${unit}`;
    return `${bytes} B`;
  };
  const time = (seconds) => seconds < 60 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.floor(seconds / 60)} min ${String(Math.round(seconds % 60)).padStart(2, "0")} s`;
  const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

  class Refused extends Error {}

  async function post(address, body, type) {
    const headers = { "X-CSRFToken": token, Accept: "application/json" };
    if (type) headers["Content-Type"] = type;
    const answer = await fetch(address, { method: "POST", headers, body });
    const said = await answer.json().catch(() => ({}));
    return { status: answer.status, ok: answer.ok, said };
  }

  // XHR, because fetch does not tell how much of a body is sent.
  function sendPiece(state, address, piece, onProgress) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      state.request = request;
      request.open("POST", address);
      request.setRequestHeader("X-CSRFToken", token);
      request.setRequestHeader("Content-Type", "application/octet-stream");
      request.responseType = "json";
      request.upload.onprogress = (event) => onProgress(event.loaded);
      request.onload = () => resolve({ status: request.status, said: request.response || {} });
      request.onerror = request.ontimeout = () => reject(new Error("no connection"));
      request.onabort = () => reject(new Refused("Cancelled"));
      request.send(piece);
    });
  }

  function draw(file) {
    const element = document.getElementById("upload-template").content.firstElementChild.cloneNode(true);
    const part = (name) => element.querySelector(`[data-${name}]`);
    part("name").textContent = file.name;
    list.append(element);
    return { element, text: part("text"), progress: part("progress"), cancel: part("cancel") };
  }

  function meter(view, file, begun) {
    const started = performance.now();
    return (received) => {
      const seconds = (performance.now() - started) / 1000;
      const speed = (received - begun) / Math.max(seconds, 0.001);
      view.progress.value = received / file.size;
      view.text.textContent = seconds < 0.5 ? `${size(received)} of ${size(file.size)}`
        : `${size(received)} of ${size(file.size)} · ${size(speed)}/s · ${time((file.size - received) / Math.max(speed, 1))} left`;
    };
  }

  async function begin(file) {
    const body = new URLSearchParams({ filename: file.name, bytes: file.size, modified: file.lastModified });
    const { ok, said, status } = await post(form.dataset.begin, body);
    if (!ok) throw new Refused(said.error || `The server answered ${status}. Reload the page and try again.`);
    return said;
  }

  async function pieces(file, upload, view, state) {
    let received = upload.received;
    let failures = 0;
    const show = meter(view, file, received);
    show(received);
    while (received < file.size) {
      if (state.cancelled) throw new Refused("Cancelled");
      try {
        const piece = file.slice(received, received + CHUNK);
        const { status, said } = await sendPiece(state, `${upload.url}chunks?offset=${received}`, piece, (sent) => show(received + sent));
        if (status === 200 || status === 409 && said.received !== undefined) { received = said.received; failures = 0; show(received); }
        else if (status >= 500 && status !== 507) throw new Error(`the server answered ${status}`);
        else throw new Refused(said.error || `The server answered ${status}.`);
      } catch (error) {
        if (error instanceof Refused || error.name === "NotReadableError") throw error;
        const wait = RETRY_SECONDS[Math.min(failures++, RETRY_SECONDS.length - 1)];
        view.text.textContent = `Interrupted (${error.message}); going on in ${wait} s from ${size(received)}`;
        await pause(wait);
      }
    }
  }

  async function finish(upload) {
    const { ok, said, status } = await post(`${upload.url}finish`, "");
    if (!ok) throw new Refused(said.error || `The server answered ${status}.`);
    return said;
  }

  async function upload(file, alone) {
    const view = draw(file);
    const state = {};
    let begun = null;
    view.cancel.addEventListener("click", async () => {
      if (view.done) return view.element.remove();
      state.cancelled = true;
      state.request?.abort();
    });
    try {
      begun = await begin(file);
      await pieces(file, begun, view, state);
      view.text.textContent = "Checking";
      view.progress.removeAttribute("value");
      const said = await finish(begun);
      if (alone) { location.href = said.url; return; }
      view.element.remove();
      window.hone?.toast?.(`${file.name} is uploaded.`);
    } catch (error) {
      if (state.cancelled) {
        if (begun) await post(`${begun.url}delete`, "");
        view.element.remove();
      } else {
        view.done = true;
        view.element.classList.add("upload--bad");
        view.progress.remove();
        view.cancel.textContent = "Dismiss";
        view.text.textContent = error.name === "NotReadableError"
          ? "The browser can no longer read this file (was it moved or changed?). Choose it again; what has arrived is kept."
          : error.message;
      }
    }
    document.body.dispatchEvent(new CustomEvent("hone:news"));
  }

  async function take(files) {
    for (const file of files) await upload(file, files.length === 1);
  }

  input.addEventListener("change", () => { const files = [...input.files]; input.value = ""; if (files.length) take(files); });
  form.addEventListener("submit", (event) => { event.preventDefault(); input.click(); });

  let depth = 0;
  const carriesFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  document.addEventListener("dragenter", (event) => { if (carriesFiles(event)) { event.preventDefault(); depth += 1; drop.hidden = false; } });
  document.addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
  document.addEventListener("dragleave", (event) => { if (carriesFiles(event) && (depth -= 1) <= 0) { depth = 0; drop.hidden = true; } });
  document.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    drop.hidden = true;
    take([...event.dataTransfer.files].filter((file) => file.size || file.type || file.name.includes(".")));
  });
  addEventListener("beforeunload", (event) => { if (list.querySelector("[data-upload]:not(.upload--bad) [value]")) event.preventDefault(); });
})();
