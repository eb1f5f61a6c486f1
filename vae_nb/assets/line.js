// One data point x and a code z on a line: prior N(0, 1), a likelihood p(x|z) that is a sum of bumps in z, [height, place, width], and
// q(z|x) = N(mu, sigma²), which the reader moves. Shared by elbo.js and bound.js, which follow it; concatenated after ideas.js.

const FAR = 4; // the line is drawn from -FAR to FAR
const LIMITS = { mu: [-2.5, 2.5], sigma: [0.15, 1.6] };

const normal = (z, mu, sigma) => Math.exp(-(((z - mu) / sigma) ** 2) / 2) / (sigma * Math.sqrt(2 * Math.PI));

function logLikelihood(z, bumps) {
  const logs = bumps.map(([height, place, width]) => Math.log(height) - ((z - place) / width) ** 2 / 2);
  const top = Math.max(...logs);
  return top + Math.log(logs.reduce((sum, log) => sum + Math.exp(log - top), 0));
}

// log ∫ p(x|z) N(z; 0, 1) dz: each bump is a Gaussian integral.
function logEvidence(bumps) {
  const masses = bumps.map(([height, place, width]) => (height * width) / Math.hypot(1, width) * Math.exp(-(place ** 2) / (2 * (1 + width ** 2))));
  return Math.log(masses.reduce((sum, mass) => sum + mass, 0));
}

function legend(entries) {
  const items = entries.map(([colour, text]) => {
    const swatch = make("i");
    swatch.style.background = `var(${colour})`;
    return make("span", {}, swatch, text);
  });
  return make("div", { className: "legend" }, ...items);
}

const GRID = Array.from({ length: 321 }, (_, i) => -FAR + (i * FAR) / 160);
const place = (z, width) => ((z + FAR) / (2 * FAR)) * width;
const curve = (f, width, y) => path(GRID.map((z) => [place(z, width), y(f(z))]));
const area = (f, width, y, base) => `${curve(f, width, y)}L${width},${base}L0,${base}Z`;
const level = (x1, x2, at, more) => draw("line", { x1, x2, y1: at, y2: at, stroke: "var(--idea-line)", ...more });

// The true posterior, q and the prior above an axis, with the handles of q.
function densities(width, floor, { mu, sigma }, bumps) {
  const x = (z) => place(z, width), y = (density) => floor - density * 105, evidence = logEvidence(bumps);
  const posterior = (z) => Math.exp(logLikelihood(z, bumps) - evidence) * normal(z, 0, 1);
  const ticks = [-3, -2, -1, 0, 1, 2, 3].map((z) => draw("text", { x: x(z), y: floor + 24, "text-anchor": "middle" }, written(z, 0)));
  const ends = [mu - sigma, mu + sigma].map((z) => draw("circle", { cx: x(z), cy: floor, r: 7, fill: "var(--idea-face)", stroke: "var(--idea-q)", "stroke-width": 2.5 }));
  return [
    draw("path", { d: area(posterior, width, y, floor), fill: "var(--idea-p)", "fill-opacity": 0.25, stroke: "var(--idea-p)" }),
    draw("path", { d: area((z) => normal(z, mu, sigma), width, y, floor), fill: "var(--idea-q)", "fill-opacity": 0.18, stroke: "var(--idea-q)", "stroke-width": 2.5 }),
    draw("path", { d: curve((z) => normal(z, 0, 1), width, y), fill: "none", stroke: "var(--idea-line)", "stroke-dasharray": "5 4" }), // on top: q starts as the prior
    level(0, width, floor),
    ...ticks,
    draw("text", { x: width - 6, y: floor + 24, "text-anchor": "end" }, "z"),
    level(x(mu - sigma), x(mu + sigma), floor, { stroke: "var(--idea-q)", "stroke-width": 4 }),
    ...ends,
    draw("circle", { cx: x(mu), cy: floor, r: 9, fill: "var(--idea-q)" }),
  ];
}

// Near the middle a pointer moves mu, at the ends of the bar it changes sigma, elsewhere it fetches q.
function grip(z, { mu, sigma }, perPixel) {
  const off = Math.abs(z - mu);
  if (off < Math.max(sigma / 2, 9 * perPixel)) return "mu";
  return off < sigma + 26 * perPixel ? "sigma" : "mu";
}

// q as the page changes it: by sliders, by dragging in a picture, and the scene by a picker. `before` is called first, to stop what is under way.
function makeQ({ model, said, before = () => {} }) {
  const state = () => ({ mu: model.get("mu"), sigma: model.get("sigma") });
  const bumps = () => model.get("scenes")[model.get("scene")];
  const put = (values) => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
  };
  const move = (name, value) => put({ [name]: Math.round(100 * clamp(value, ...LIMITS[name])) / 100 });
  const sliders = ["mu", "sigma"].map((name, i) =>
    slider({
      label: `${"μσ"[i]} of q`, min: LIMITS[name][0], max: LIMITS[name][1], step: 0.05,
      get: () => state()[name], set: (value) => { before(); move(name, value); }, said: (value) => `${written(value)}; ${said()}`,
    }));
  const scene = make("select", { ariaLabel: "how many codes explain x" }, ...Object.keys(model.get("scenes")).map((name) => new Option(name)));
  scene.dataset.lmSuppressShortcuts = "true";
  scene.addEventListener("change", () => { before(); put({ scene: scene.value }); });
  const refresh = () => {
    sliders.forEach((each) => each.refresh());
    scene.value = model.get("scene");
  };
  const draggedIn = (svg) => {
    const at = (event) => { const box = svg.getBoundingClientRect(); return ((event.clientX - box.left) / box.width - 0.5) * 2 * FAR; };
    let held = null, start;
    const drag = (event) => { if (held) move(held, held === "mu" ? at(event) : Math.abs(at(event) - state().mu)); };
    svg.addEventListener("pointerdown", (event) => {
      before();
      start = state();
      held = grip(at(event), state(), (2 * FAR) / svg.clientWidth);
      svg.setPointerCapture(event.pointerId);
      if (held === "mu") drag(event);
    });
    svg.addEventListener("pointermove", drag);
    svg.addEventListener("pointerup", () => (held = null));
    svg.addEventListener("pointercancel", () => { if (held) put(start); held = null; }); // the finger scrolls the page
  };
  return { state, bumps, put, rows: sliders.flatMap((each) => each.row), scene, refresh, draggedIn };
}

// Paints at the width that there is, when a trait has changed and when the width has; what is returned ends that.
function shownWhile({ model, svg, names, paint, leaving = () => {}, signal }) {
  const pictures = painter(svg, paint);
  model.on(names, pictures.ask);
  pictures.ask();
  const leave = () => { leaving(); pictures.stop(); model.off(names, pictures.ask); };
  signal?.addEventListener("abort", leave);
  return leave;
}
