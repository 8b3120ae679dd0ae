// One run in a dialog: what was done, what came out, and how.

const dialog = document.getElementById("run");

async function openRun(number, numbers, onSwitch) {
  const body = dialog.querySelector(".body");
  const isSwitch = dialog.open;
  if (!isSwitch) dialog.showModal();
  try {
    const index = await unpack("index");
    const run = index.runs[number];
    const title = dialog.querySelector("h2");
    title.textContent = run.task ? `${run.label} on ${run.task}` : run.label;
    const pressed = showTabs(index, number, numbers, onSwitch);
    (isSwitch ? pressed : title).focus();
    body.replaceChildren(element("p", { class: "quiet" }, "Unpacking…"));
    const piece = await unpack(`runs-${Math.floor(number / index.runs_per_piece)}`);
    const details = piece[number % index.runs_per_piece];
    const predictions = "config" in details ? [element("h3", {}, "Predictions"), await predictionsView(index, number)] : [];
    const shown = [...runView(run, details), ...predictions, ...filesView(details)];
    if (pressed.isConnected) body.replaceChildren(...shown); // else another run was chosen meanwhile
    dialog.scrollTop = 0;
  } catch (error) {
    showFailure(error.message);
  }
}

function showFailure(message) {
  if (!dialog.open) dialog.showModal();
  dialog.querySelector(".body").replaceChildren(element("p", { class: "failure", role: "alert" }, message));
}

function showTabs(index, number, numbers, onSwitch) {
  const tasks = new Set(numbers.map((other) => index.runs[other].task));
  const buttons = numbers.map((other) => {
    const { label, task, seed, status } = index.runs[other];
    const text = `${tasks.size > 1 ? (task ?? label) + ", " : ""}seed ${seed}`;
    const attributes = { type: "button", "data-run": other, "aria-pressed": other === number };
    const button = element("button", attributes, text, status === "ok" ? null : badge(status));
    button.addEventListener("click", () => onSwitch(other));
    return button;
  });
  const tabs = dialog.querySelector(".tabs");
  tabs.replaceChildren(...buttons);
  tabs.classList.toggle("single", buttons.length === 1);
  return buttons[numbers.indexOf(number)];
}

function runView({ id, status }, { record, losses = [] }) {
  const state = element("p", {}, badge(status), " ", element("code", { class: "id" }, id));
  const notes = (record.notes ?? []).map((note) => element("li", {}, note));
  return [
    state,
    failureView(record),
    factsView("scores", Object.entries(record.metrics ?? {}).map(([name, value]) => [`${name}, %`, percent(value)])),
    factsView("facts-list", runFacts(record)),
    notes.length ? element("ul", { class: "notes" }, ...notes) : null,
    chartsView(record, losses),
    promptView(record.prompt ?? {}),
  ].filter(Boolean);
}

function failureView({ error, hint, log_tail: log = [] }) {
  if (!error && !hint && !log.length) return null;
  const lines = log.length ? foldable("Last lines of its log", element("pre", {}, log.join("\n"))) : null;
  const parts = [error && element("p", {}, error), hint && element("p", { class: "quiet" }, `Hint: ${hint}`), lines];
  return element("div", { class: "failure" }, ...parts.filter(Boolean));
}

function factsView(kind, facts) {
  const shown = facts.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element("dl", { class: kind }, ...shown.map(([name, value]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, String(value)))));
}

function runFacts(record) {
  const { model, parameters = {}, data = {} } = record;
  const number = (value, decimals, unit) => (typeof value === "number" ? `${grouped(value, decimals)} ${unit}` : null);
  const kept = typeof record.kept_epoch === "number" ? `epoch ${record.kept_epoch} (${record.keep})` : record.keep;
  const parameter = (name) => number(parameters[name], 0, "");
  return [
    ["Model", model.paper_name ?? model.name],
    ["Seed", record.seed],
    ["Protocol", record.protocol],
    ["Examples trained on / evaluated", data.eval_rows ? `${grouped(data.train_rows ?? 0)} / ${grouped(data.eval_rows)}` : null],
    ["Parameters of the adapter", parameter("adapter")],
    ["Parameters of the head", parameter("head")],
    ["Parameters of the model", parameter("total")],
    ["Kept", kept],
    ["Steps", record.steps],
    ["Training", number(record.train_seconds, 1, "s")],
    ["Evaluation", number(record.eval_seconds, 1, "s")],
    [`Peak memory${record.peak_memory_kind ? ` (${record.peak_memory_kind})` : ""}`, number(record.peak_memory_mib, 1, "MiB")],
    ["Adapter file", number(record.adapter_bytes, 0, "bytes")],
    ["Finished", record.finished_at.replace("T", " ").replace("+00:00", " UTC")],
  ];
}

function chartsView({ epoch_metrics: epochs = [], task }, losses) {
  const metric = task?.metric_names?.[0];
  const scores = epochs.flatMap((metrics, place) =>
    Number.isFinite(metrics[metric]) ? [[place + 1, 100 * metrics[metric]]] : []);
  const charts = [];
  if (losses.length) charts.push(chart("Training loss", losses, "step", 4));
  if (scores.length > 1) charts.push(chart(`${metric}, percent`, scores, "evaluation", 2));
  return charts.length ? element("div", { class: "charts" }, ...charts) : null;
}

function promptView(prompt) {
  const { template, template_version: version, stop = {}, label_words: words = {} } = prompt;
  if (!version) return null;
  const shown = ["training", "evaluation"].filter((name) => prompt[name]).flatMap((name) => seenView(name, prompt[name]));
  const facts = [["Template", version], ...Object.entries({ ...stop, ...words }).map(([name, value]) => [name, JSON.stringify(value)])];
  return foldable("The prompt, as the model sees it", factsView("facts-list", facts), ...shown,
    element("h4", {}, "Template"), element("pre", { tabindex: "0" }, template ?? ""));
}

function seenView(name, { text, input_ids: ids, loss_mask: mask, target_text: target, target_ids: targets, mask_position: place }) {
  const list = (values) => (values ? values.join(" ") : null);
  const facts = [["Token ids", list(ids)], ["Target", target], ["Target ids", list(targets)], ["Loss mask", list(mask)], ["Mask position", place]];
  return [
    element("h4", {}, `First example of ${name}`),
    element("pre", { tabindex: "0" }, text),
    factsView("facts-list", facts),
  ];
}

function filesView({ record, config, provenance, losses }) {
  const text = (value) => element("pre", { tabindex: "0" }, typeof value === "string" ? value : JSON.stringify(value, null, 2));
  const files = { "Configuration (config.yaml)": config, "Provenance (provenance.json)": provenance, "Record (record.json)": record };
  const absent = [["config.yaml", config], ["provenance.json", provenance], ["history.jsonl", losses?.length === 0 ? null : losses]]
    .flatMap(([name, value]) => (value === null ? [name] : []));
  const missing = absent.length ? element("p", { class: "quiet" }, `Missing or damaged: ${absent.join(", ")}`) : "";
  return [
    element("h3", {}, "Files"),
    missing,
    ...Object.entries(files).filter(([, value]) => value).map(([name, value]) => foldable(name, text(value))),
  ];
}
