// Making elements. Whatever comes from records becomes text, never markup.

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function svgElement(tag, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

function badge(status) {
  return element("span", { class: `badge ${status}` }, status);
}

function foldable(title, ...children) {
  return element("details", {}, element("summary", {}, title), ...children);
}

function choice(label, options, onChange) {
  const select = element("select", { "aria-label": label });
  for (const [value, text] of options) select.append(element("option", { value }, text));
  select.addEventListener("change", () => onChange(select.value));
  return select;
}

function grouped(number, decimals = 0) {
  return number.toLocaleString("en", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

function percent(fraction) {
  return typeof fraction === "number" ? (100 * fraction).toFixed(2) : String(fraction);
}
