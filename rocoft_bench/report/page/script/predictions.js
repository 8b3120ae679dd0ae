// The predictions of a run, alone or beside those of another run that answered the same examples.

const PAGE_ROWS = 50;

async function predictionsView(index, number) {
  const { examples: group } = index.runs[number];
  if (group === null) return element("p", { class: "quiet" }, missingPredictions(index, number));
  const examples = await unpack(`examples-${group}`);
  const first = { name: index.runs[number].label, answers: await unpack(`answers-${number}`) };
  const view = element("div");
  const show = async (other) => {
    const second = other === "" ? null : await otherAnswers(index, Number(other), first);
    view.replaceChildren(...comparison(examples, first, second));
  };
  await show("");
  const others = index.runs.flatMap((run, place) => (run.examples === group && place !== number ? [[place, runTitle(run)]] : []));
  const label = "Another run on the same examples";
  const chooser = choice(label, [["", others.length ? `none (${others.length} to choose from)` : "none there"], ...others], show);
  return element("div", {}, ...cutNotes(first.answers), element("label", { class: "controls" }, "Beside: ", chooser), view);
}

async function otherAnswers(index, number, first) {
  const run = index.runs[number];
  const name = run.label === first.name ? `${run.label} (${run.id})` : run.label;
  return { name, answers: await unpack(`answers-${number}`) };
}

function runTitle(run) {
  return `${run.label}, seed ${run.seed} (${run.id})`;
}

function missingPredictions(index, number) {
  return index.left_out.includes(index.runs[number].id)
    ? "The predictions of this run are left out, because the page would become too large; they are in its folder."
    : "This run has no predictions that can be read.";
}

function cutNotes(answers) {
  if (answers.left_out === 0) return [];
  const more = answers.left_out === null ? "further examples" : `${grouped(answers.left_out)} further examples`;
  const text = `The first ${grouped(answers.values.length)} examples; ${more} are left out, and the counts are of these examples only.`;
  return [element("p", { class: "quiet" }, text)];
}

// Tests of an example, by name. "A" is the run, "B" the other one.
function exampleTests({ rule }, first, second) {
  const right = (run) => (place) => run.answers.right[place] === "1";
  const a = right(first);
  if (!second) return rule ? { right: a, wrong: (place) => !a(place) } : {};
  const differ = (place) => String(first.answers.values[place]) !== String(second.answers.values[place]);
  const equality = { differ, "are equal": (place) => !differ(place) };
  if (!rule) return equality;
  const b = right(second);
  return {
    ...equality,
    "both right": (place) => a(place) && b(place),
    [`only ${first.name} right`]: (place) => a(place) && !b(place),
    [`only ${second.name} right`]: (place) => !a(place) && b(place),
    "only one is right": (place) => a(place) !== b(place),
    "neither right": (place) => !a(place) && !b(place),
  };
}

function comparison(examples, first, second) {
  const places = examples.index.map((_, place) => place);
  const tests = Object.entries(exampleTests(examples, first, second)).map(([name, test]) => [name, places.filter(test)]);
  const tally = tests.map(([name, those]) => element("span", {}, `${name}: `, element("b", {}, grouped(those.length))));
  const table = element("div", { class: "answers", role: "region", tabindex: "0", "aria-label": "Predictions" });
  const pager = element("div", { class: "controls" });
  const show = (chosen) => showPage(table, pager, chosen, 0, (place) => answerRow(examples, place, first, second));
  table.append(answerTable(first, second));
  show(places);
  const options = [["", `all ${grouped(places.length)} examples`], ...tests.map(([name, those]) => [name, `${name} (${those.length})`])];
  const filter = choice("Examples", options, (name) => show(name ? new Map(tests).get(name) : places));
  return [
    element("p", { class: "quiet" }, scoring(examples)),
    element("p", { class: "tally" }, ...tally),
    element("label", { class: "controls" }, "Show: ", filter),
    table,
    pager,
  ];
}

function scoring({ rule, task }) {
  const byDegree = `The answers of ${task} are scored by degree; only whether two predictions are equal is counted here.`;
  return rule ?? byDegree;
}

function answerTable(first, second) {
  const titles = ["example", "reference", first.name, ...(second ? [second.name] : [])];
  const headers = titles.map((title) => element("th", { scope: "col" }, title));
  return element("table", {}, element("thead", {}, element("tr", {}, ...headers)), element("tbody"));
}

function answerRow(examples, place, first, second) {
  const runs = second ? [first, second] : [first];
  const cells = runs.map(({ answers }) => answerCell(answers, place));
  const index = element("th", { scope: "row" }, String(examples.index[place]));
  return element("tr", {}, index, element("td", {}, String(examples.reference[place])), ...cells);
}

function answerCell({ values, texts, right }, place) {
  const value = values[place] === null ? "no answer" : String(values[place]);
  const mark = right === null ? "" : right[place] === "1" ? "right" : "wrong";
  const said = texts?.[place] ? element("span", { class: "said" }, texts[place]) : null;
  const word = mark ? element("span", { class: "hidden" }, ` (${mark})`) : null;
  return element("td", {}, element("span", { class: mark }, value, word), said);
}

function showPage(table, pager, places, page, makeRow) {
  const pages = Math.max(1, Math.ceil(places.length / PAGE_ROWS));
  const shown = places.slice(page * PAGE_ROWS, (page + 1) * PAGE_ROWS);
  table.querySelector("tbody").replaceChildren(...shown.map(makeRow));
  const turn = (text, to) => {
    const button = element("button", { type: "button" }, text);
    button.disabled = to < 0 || to >= pages;
    button.addEventListener("click", () => showPage(table, pager, places, to, makeRow));
    return button;
  };
  pager.replaceChildren(turn("Previous", page - 1), `page ${page + 1} of ${pages}`, turn("Next", page + 1));
}
