"use strict";
const $ = (id) => document.getElementById(id);
const KINDS = ["numeric", "integer", "boolean", "category", "ordinal", "datetime", "id", "text", "constant", "drop"];
const state = { upload: null, model: null, source: null, rows: [] };

function say(text, fault) { $("said").textContent = text; $("said").classList.toggle("fault", Boolean(fault)); }
function node(name, text, options) { return Object.assign(document.createElement(name), { textContent: text ?? "" }, options); }
function option(value, text) { return node("option", text ?? value, { value }); }

async function ask(path, method, body) {
  const told = { method: method ?? "GET", credentials: "same-origin", headers: {} };
  if (body instanceof Blob) { told.body = body; told.headers["content-type"] = "application/octet-stream"; }
  else if (body !== undefined) { told.body = JSON.stringify(body); told.headers["content-type"] = "application/json"; }
  const answer = await fetch("/v1" + path, told);
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({ detail: answer.statusText }));
    throw new Error(problem.detail);
  }
  return answer;
}
const json = async (...words) => (await ask(...words)).json();
const guarded = (task) => async (event) => {
  if (event) event.preventDefault();
  try { await task(event); } catch (error) { say(error.message, true); }
};

async function listUploads(chosen) {
  const found = await json("/uploads");
  $("uploads").replaceChildren(option("", "none"), ...found.map((u) => option(u.id, `${u.kind}, ${u.rows} ${u.kind === "table" ? "rows" : "pictures"}, ${u.id.slice(0, 6)}`)));
  if (chosen) $("uploads").value = chosen;
}

function showUpload(upload) {
  state.upload = upload;
  $("upload").hidden = false;
  const noun = upload.kind === "table" ? `rows, ${upload.columns.length} columns` : "pictures";
  $("upload-told").textContent = [`${upload.rows} ${noun}`, ...upload.notes].join("; ");
  $("columns").hidden = $("target-row").hidden = upload.kind !== "table";
  $("columns").tBodies[0].replaceChildren(...upload.columns.map((column) => {
    const row = node("tr"), cell = node("td"), choice = node("select");
    choice.setAttribute("aria-label", `type of ${column.name}`);
    choice.append(...KINDS.filter((kind) => kind !== "constant" || column.type === kind).map((kind) => option(kind)));
    choice.value = column.type;
    choice.addEventListener("change", guarded(correct));
    choice.dataset.column = column.name;
    choice.dataset.found = column.type;
    cell.append(choice);
    row.append(node("th", column.name, { scope: "row" }), cell, node("td", column.example), node("td", column.why));
    return row;
  }));
  $("target").replaceChildren(option("", "none"), ...upload.columns.filter((c) => c.type !== "drop").map((c) => option(c.name)));
  $("target").value = upload.target ?? "";
  const models = $("model").dataset[upload.kind].split(",");
  $("model").replaceChildren(...models.map((name) => option(name)));
  if (upload.kind === "table") $("model").value = "tabar";
  $("train").disabled = false;
}

const corrections = {};
async function correct() {
  const own = corrections[state.upload.id] ??= {};
  for (const choice of document.querySelectorAll("#columns select")) {
    if (choice.value !== choice.dataset.found) own[choice.dataset.column] = choice.value;
  }
  try {
    showUpload(await json(`/uploads/${state.upload.id}/types`, "PUT", { types: own, target: $("target").value || null }));
    say("Types are set.");
  } catch (error) {
    for (const choice of document.querySelectorAll("#columns select")) {
      if (choice.value !== choice.dataset.found) { delete own[choice.dataset.column]; choice.value = choice.dataset.found; }
    }
    $("target").value = state.upload.target ?? "";
    throw error;
  }
}

async function send(file) {
  if (!file) return;
  say(`Sending ${file.name} …`);
  const upload = await json("/uploads", "POST", file);
  showUpload(upload);
  await listUploads(upload.id);
  say(`${file.name} is here: check the types, then train.`);
}

async function listJobs() {
  const jobs = await json("/jobs");
  $("jobs").replaceChildren(...jobs.slice(0, 8).map((job) => {
    const row = node("div", "", { className: "job" });
    row.append(node("span", `${job.model}, ${new Date(job.created * 1000).toLocaleTimeString()}: ${job.status}${job.why ? `, ${job.why}` : ""}`));
    const act = (name, verb) => {
      const button = node("button", verb, { className: "quiet", type: "button" });
      button.addEventListener("click", guarded(async () => { await json(`/jobs/${job.id}/${name}`, "POST"); await listJobs(); if (name === "resume") watch(job.id); }));
      row.append(button);
    };
    if (job.status === "waiting" || job.status === "running") act("cancel", "Cancel");
    if (job.status === "cancelled" || job.status === "failed") act("resume", "Resume");
    return row;
  }));
  return jobs;
}

function watch(id) {
  if (state.source) state.source.close();
  state.rows = [];
  const source = state.source = new EventSource(`/v1/jobs/${id}/events`);
  source.addEventListener("figures", (event) => { state.rows.push(JSON.parse(event.data)); draw(); });
  source.addEventListener("status", guarded(async (event) => {
    const job = JSON.parse(event.data);
    say(`Training: ${job.status}${job.why ? `, ${job.why}` : ""}`, job.status === "failed");
    await listJobs();
    if (["done", "failed", "cancelled"].includes(job.status)) { source.close(); await listModels(job.trained); }
  }));
}

function draw() {
  $("progress").hidden = false;
  const svg = $("curve"), told = [];
  svg.replaceChildren();
  for (const [name, style] of [["val/loss", "loss"], ["val/fidelity", "fidelity"]]) {
    const points = state.rows.filter((row) => row[name] != null).map((row) => [row.epoch, row[name]]);
    if (!points.length) continue;
    const [xs, ys] = [0, 1].map((i) => points.map((p) => p[i]));
    const scale = (v, all, size) => { const low = Math.min(...all), high = Math.max(...all); return high > low ? 10 + ((v - low) / (high - low)) * (size - 20) : size / 2; };
    const line = document.createElementNS("http://www.w3.org/2000/svg", points.length > 1 ? "polyline" : "circle");
    const at = points.map(([x, y]) => [scale(x, xs, 600), 200 - scale(y, ys, 200)]);
    if (points.length > 1) line.setAttribute("points", at.map((p) => p.join(",")).join(" "));
    else { line.setAttribute("cx", at[0][0]); line.setAttribute("cy", at[0][1]); line.setAttribute("r", "4"); }
    line.setAttribute("class", style);
    svg.append(line);
    told.push(`${name} ${ys.at(-1).toPrecision(4)}${style === "fidelity" ? " (dashed)" : ""}`);
  }
  $("curve-told").textContent = `epoch ${state.rows.at(-1).epoch}: ${told.join(", ")}`;
}

async function listModels(chosen) {
  const found = await json("/models");
  $("models").replaceChildren(option("", found.length ? "choose" : "none yet"), ...found.map((m) => option(m.id, `${m.model} on ${m.data}, ${m.id.split("~")[0]} ${m.id.split("~")[1].slice(0, 8)}`)));
  if (chosen) { $("models").value = chosen; await showModel(); }
}

async function showModel() {
  const id = $("models").value;
  $("card").hidden = !id;
  if (!id) return;
  const card = state.model = await json(`/models/${encodeURIComponent(id)}`);
  const shown = (value) => (value == null ? "–" : Number(value).toPrecision(4));
  const main = card.figures.filter((figure) => figure.value != null).slice(0, 12);
  $("figures").tBodies[0].replaceChildren(...main.map((figure) => {
    const row = node("tr");
    row.append(node("th", figure.name, { scope: "row" }), ...[figure.value, figure.ceiling, figure.floor].map((v) => node("td", shown(v), { className: "number" })));
    return row;
  }));
  $("report").href = `/v1/models/${encodeURIComponent(id)}/report`;
  $("export").href = `/v1/models/${encodeURIComponent(id)}/export`;
  $("format").replaceChildren(...card.ask.formats.map((name) => option(name)));
  const columns = card.ask.kind !== "image" ? card.ask.columns : card.ask.classes.length ? [{ name: "class", type: "category", values: card.ask.classes }] : [];
  $("conditions").hidden = !columns.length;
  $("conditions").querySelectorAll("div").forEach((part) => part.remove());
  $("conditions").append(...columns.map((column, i) => {
    const part = node("div"), label = node("label", column.name, { htmlFor: `condition-${i}` });
    const field = node("input", "", { id: `condition-${i}`, type: "text", autocomplete: "off" });
    field.dataset.column = column.name;
    field.placeholder = column.values?.length ? column.values.slice(0, 3).join("|") : ">0";
    part.append(label, field);
    return part;
  }));
}

async function make() {
  const condition = {};
  for (const field of document.querySelectorAll("#conditions input")) if (field.value) condition[field.dataset.column] = field.value;
  const format = $("format").value;
  const asked = { n: Number($("n").value), seed: Number($("seed").value), format, condition, escape_formulas: $("escape").checked && format === "csv" };
  say("Drawing …");
  const answer = await ask(`/models/${encodeURIComponent(state.model.id)}/sample`, "POST", asked);
  const link = node("a", "", { href: URL.createObjectURL(await answer.blob()), download: `sample.${format}` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  say(`${asked.n} made.`);
}

async function begin() {
  await listUploads();
  await listModels();
  const jobs = await listJobs();
  const open = jobs.find((job) => job.status === "running" || job.status === "waiting");
  if (open) watch(open.id);
}

$("file").addEventListener("change", guarded(() => send($("file").files[0])));
for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  $("drop").addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.toggle("over", over); });
}
$("drop").addEventListener("drop", guarded((event) => send(event.dataTransfer.files[0])));
$("uploads").addEventListener("change", guarded(async () => { const id = $("uploads").value; if (id) showUpload(await json(`/uploads/${id}`)); }));
$("target").addEventListener("change", guarded(correct));
$("train-form").addEventListener("submit", guarded(async () => {
  const asked = { upload: state.upload.id, model: $("model").value };
  if ($("budget").value) asked.budget_minutes = Number($("budget").value);
  if ($("epochs").value) asked.epochs = Number($("epochs").value);
  const job = await json("/jobs", "POST", asked);
  await listJobs();
  watch(job.id);
}));
$("models").addEventListener("change", guarded(showModel));
$("sample-form").addEventListener("submit", guarded(make));
if ($("key-form")) {
  $("key-form").addEventListener("submit", guarded(async () => {
    await ask("/session", "POST", { key: $("key").value });
    $("key").value = "";
    $("sign-in").hidden = true;
    await begin();
    say("Signed in.");
  }));
}
begin().catch((error) => { if (document.body.dataset.withKeys !== "true") say(error.message, true); });
