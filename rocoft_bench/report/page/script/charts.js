// Small line charts: SVG, drawn here.

const CHART = { width: 420, height: 220, left: 52, right: 10, top: 10, bottom: 34 };

function chart(title, points, xLabel, decimals) {
  const svg = svgElement("svg", { viewBox: `0 0 ${CHART.width} ${CHART.height}`, role: "img", "aria-label": title });
  const x = scale(points.map(([value]) => value), CHART.left, CHART.width - CHART.right, 1);
  const y = scale(points.map(([, value]) => value), CHART.height - CHART.bottom, CHART.top);
  for (const tick of y.ticks) {
    const at = y.place(tick);
    svg.append(svgElement("line", { class: "chart-grid", x1: CHART.left, x2: CHART.width - CHART.right, y1: at, y2: at }));
    svg.append(chartText(CHART.left - 6, at + 4, "end", tickText(tick)));
  }
  for (const tick of x.ticks) svg.append(chartText(x.place(tick), CHART.height - CHART.bottom + 15, "middle", tickText(tick)));
  svg.append(chartText((CHART.left + CHART.width) / 2, CHART.height - 3, "middle", xLabel));
  const places = points.map(([first, second]) => [x.place(first).toFixed(1), y.place(second).toFixed(1)]);
  svg.append(svgElement("polyline", { class: "chart-line", points: places.join(" ") }));
  if (points.length <= 30) for (const point of places) svg.append(dot(point));
  const last = points.at(-1);
  const caption = `${title}: ${points.length} points, last ${last[1].toFixed(decimals)}`;
  return element("figure", {}, element("figcaption", {}, caption), svg);
}

function dot([cx, cy]) {
  return svgElement("circle", { class: "chart-dot", cx, cy, r: 3 });
}

function chartText(x, y, anchor, text) {
  return svgElement("text", { class: "chart-text", x, y, "text-anchor": anchor }, text);
}

function scale(values, from, to, leastStep = 0) {
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (low === high) [low, high] = [low - 0.5, high + 0.5];
  const place = (value) => from + ((value - low) / (high - low)) * (to - from);
  return { place, ticks: ticks(low, high, leastStep) };
}

// About five round numbers within the range.
function ticks(low, high, leastStep) {
  const rough = (high - low) / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough && candidate >= leastStep) ?? leastStep;
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

function tickText(value) {
  return Number(value.toPrecision(6)).toLocaleString("en", { maximumSignificantDigits: 6 });
}
