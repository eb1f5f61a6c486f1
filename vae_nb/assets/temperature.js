// TemperatureExplorer: draws of a Gumbel-softmax over three categories, as points of a triangle. The noise is given and stays;
// the reader moves the temperature and the logits, so that every point can be followed.

const COLOURS = ["--idea-q", "--idea-p", "--idea-third"];
const TAU = [0.1, 10]; // the slider runs over its logarithm
const LOGIT = [-3, 3];
const CORNERS = [[0, 0], [1, 0], [0.5, Math.sqrt(3) / 2]];

export function softmax(values) {
  const top = Math.max(...values), raised = values.map((value) => Math.exp(value - top));
  const total = raised.reduce((sum, value) => sum + value, 0);
  return raised.map((value) => value / total);
}

const relaxed = (logits, tau, noise) => noise.map((g) => softmax(logits.map((logit, i) => (logit + g[i]) / tau)));
const largest = (y) => y.indexOf(Math.max(...y));
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// The same as temperature_parts in Python.
export function temperatureParts(logits, tau, noise, draws = relaxed(logits, tau, noise)) {
  const gradient = draws.map(([y]) => (y * (1 - y)) / tau), slope = mean(gradient);
  return {
    probs: softmax(logits),
    winners: logits.map((_, i) => mean(noise.map((g) => Number(largest(logits.map((logit, j) => logit + g[j])) === i)))),
    mean: logits.map((_, i) => mean(draws.map((y) => y[i]))),
    largest: mean(draws.map((y) => Math.max(...y))),
    slope,
    spread: Math.sqrt(mean(gradient.map((value) => (value - slope) ** 2))),
  };
}

const ROWS = [
  ["softmax of the logits", "probs"],
  ["how often each wins", "winners"],
  ["mean of the draws", "mean"],
];

function numbersTable(names) {
  const head = make("tr", {}, make("td"), ...names.map((name, i) => {
    const cell = make("th", { scope: "col", textContent: name, className: "name" });
    cell.style.color = `var(${COLOURS[i]})`;
    return cell;
  }));
  const cells = {}, body = make("tbody");
  for (const [text, key] of ROWS) {
    cells[key] = names.map(() => make("td", { className: "number" }));
    body.append(make("tr", {}, make("th", { scope: "row", textContent: text }), ...cells[key]));
  }
  const sentence = make("p");
  const refresh = (parts) => {
    for (const [, key] of ROWS) cells[key].forEach((cell, i) => (cell.textContent = written(parts[key][i])));
    sentence.textContent = `A draw's largest share is ${written(parts.largest)} on average. The gradient of ${names[0]}'s share by its logit: ` +
      `mean ${written(parts.slope)}, spread ${written(parts.spread)}.`;
  };
  return { elements: [make("table", {}, make("thead", {}, head), body), sentence], refresh };
}

// The triangle: its place in a picture of a given width, in both directions.
function triangle(width) {
  const side = Math.min(width - 60, 380), left = (width - side) / 2, floor = 26 + (side * Math.sqrt(3)) / 2;
  const point = (shares) => [0, 1].map((axis) => shares.reduce((sum, share, i) => sum + share * CORNERS[i][axis], 0));
  const onPage = (shares) => { const [x, y] = point(shares); return [left + side * x, floor - side * y]; };
  const shares = (px, py) => {
    const x = (px - left) / side, third = (floor - py) / side / CORNERS[2][1];
    return [1 - x - third / 2, x - third / 2, third];
  };
  return { side, floor, height: floor + 26, onPage, shares };
}

// The ring that is dragged: one element for good, with room for a fingertip, and the only place where a finger does not scroll the page.
function makeRing() {
  const circle = (r, more) => draw("circle", { r, fill: "none", ...more });
  const ring = draw("g", {}, circle(24, { fill: "transparent" }), circle(10, { stroke: "var(--idea-face)", "stroke-width": 6 }), circle(10, { stroke: "currentColor", "stroke-width": 2.5 }));
  ring.style.cssText = "touch-action: none; cursor: grab";
  return ring;
}

function paintDraws(svg, ring, width, draws, probs, names) {
  const { height, floor, onPage } = triangle(width);
  const unit = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];
  const dots = draws.map((y) => { const [cx, cy] = onPage(y); return draw("circle", { cx: cx.toFixed(1), cy: cy.toFixed(1), r: 3.2, fill: `var(${COLOURS[largest(y)]})`, "fill-opacity": 0.5 }); });
  const labels = unit.map((corner, i) => {
    const [x, y] = onPage(corner);
    return draw("text", { x, y: y < floor - 1 ? y - 9 : y + 19, "text-anchor": "middle", style: `fill: var(${COLOURS[i]}); font-weight: 650` }, names[i]);
  });
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.style.height = `${height}px`;
  svg.replaceChildren(
    draw("path", { d: `${path(unit.map(onPage))}Z`, fill: "none", stroke: "var(--idea-line)" }),
    ...dots,
    ...labels,
    ring,
  );
  ring.setAttribute("transform", `translate(${onPage(probs)})`);
}

function render({ model, el, signal }) {
  const names = model.get("names"), noise = model.get("noise");
  const put = (name, value) => { model.set(name, value); model.save_changes(); };
  const putLogit = (i, value) => put("logits", model.get("logits").map((old, j) => (i === j ? value : old)));
  const logTau = () => Math.log10(model.get("tau"));

  const root = make("div", { className: "vae-idea" });
  const svg = draw("svg", { role: "img" }), ring = makeRing();
  const numbers = numbersTable(names);
  const spoken = (value) => { const t = temperatureParts(model.get("logits"), model.get("tau"), noise); return `${value}; largest share ${written(t.largest)}, spread of the gradient ${written(t.spread)}`; };
  const tauText = (value) => written(10 ** value);
  const sliders = [
    slider({ label: "temperature τ", min: Math.log10(TAU[0]), max: Math.log10(TAU[1]), step: 0.05, get: logTau,
      set: (value) => put("tau", Number((10 ** value).toPrecision(3))), shown: tauText, said: (value) => spoken(tauText(value)) }),
    ...names.map((name, i) => slider({ label: `logit of ${name}`, min: LOGIT[0], max: LOGIT[1], step: 0.1,
      get: () => model.get("logits")[i], set: (value) => putLogit(i, value), said: (value) => spoken(written(value)) })),
  ];
  const start = { tau: model.get("tau"), logits: model.get("logits") };
  const reset = make("button", { type: "button", textContent: "Start again" });
  reset.addEventListener("click", () => { model.set("logits", start.logits); put("tau", start.tau); });

  // The ring stands at the softmax of the logits; wherever it is put, the logits follow.
  let held = false, was;
  const drag = (event) => {
    if (!held) return;
    const box = svg.getBoundingClientRect(), scale = svg.clientWidth / box.width;
    const logs = triangle(svg.clientWidth).shares((event.clientX - box.left) * scale, (event.clientY - box.top) * scale).map((share) => Math.log(Math.max(share, 0.003)));
    put("logits", logs.map((log) => Math.round(10 * clamp(log - mean(logs), ...LOGIT)) / 10));
  };
  svg.addEventListener("pointerdown", (event) => { [held, was] = [true, model.get("logits")]; svg.setPointerCapture(event.pointerId); drag(event); });
  svg.addEventListener("pointermove", drag);
  svg.addEventListener("pointerup", () => (held = false));
  svg.addEventListener("pointercancel", () => { if (held) put("logits", was); held = false; }); // the finger scrolls the page

  const say = announcer(root);
  const paint = (width) => {
    const logits = model.get("logits"), tau = model.get("tau"), draws = relaxed(logits, tau, noise);
    const parts = temperatureParts(logits, tau, noise, draws);
    paintDraws(svg, ring, width, draws, parts.probs, names);
    svg.setAttribute("aria-label", `${noise.length} draws in a triangle with corners ${names.join(", ")}, at temperature ${written(tau)}`);
    numbers.refresh(parts);
    sliders.forEach((each) => each.refresh());
    say(`Temperature ${written(tau)}: largest share ${written(parts.largest)}, spread of the gradient ${written(parts.spread)}.`);
  };
  const hint = make("p", { textContent: "Each dot is one draw, in the colour of its largest share. The ring is the softmax of the logits: drag it." });
  root.append(hint, svg, make("div", { className: "controls" }, ...sliders.flatMap((each) => each.row)), make("div", { className: "buttons" }, reset), ...numbers.elements);
  el.append(root);
  const picture = painter(svg, paint);
  model.on("change:tau change:logits", picture.ask);
  picture.ask();
  const leave = () => { picture.stop(); model.off("change:tau change:logits", picture.ask); };
  signal?.addEventListener("abort", leave);
  return leave;
}

export default { render };
