// ElboExplorer: one data point x, a code z on a line, prior N(0, 1), and a likelihood p(x|z) that is a sum of bumps in z:
// [height, place, width]. The reader moves q(z|x) = N(mu, sigma²) and sees what becomes of the two ways to write the ELBO.

const LOWEST = -8; // nats at the left end of the bars
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

// All terms in nats. The expectation under q is a sum over 401 points of mu ± 8 sigma, weighted by the bell curve.
export function elboParts(mu, sigma, bumps) {
  let recon = 0, total = 0;
  for (let i = 0; i <= 400; i++) {
    const noise = -8 + i / 25, weight = Math.exp(-(noise ** 2) / 2);
    recon += weight * logLikelihood(mu + sigma * noise, bumps);
    total += weight;
  }
  recon /= total;
  const kl = (mu ** 2 + sigma ** 2 - 1) / 2 - Math.log(sigma);
  const elbo = recon - kl, log_px = logEvidence(bumps);
  return { recon, kl, elbo, gap: log_px - elbo, log_px };
}

// One step uphill in (mu, log sigma), the gradient by central differences.
function climbed({ mu, sigma }, bumps, rate = 0.04, h = 1e-4) {
  const elbo = (m, s) => elboParts(m, s, bumps).elbo;
  const dMu = (elbo(mu + h, sigma) - elbo(mu - h, sigma)) / (2 * h);
  const dLog = (elbo(mu, sigma * Math.exp(h)) - elbo(mu, sigma * Math.exp(-h))) / (2 * h);
  return { mu: clamp(mu + rate * dMu, ...LIMITS.mu), sigma: clamp(sigma * Math.exp(clamp(rate * dLog, -0.2, 0.2)), ...LIMITS.sigma), moved: Math.hypot(dMu, dLog) };
}

// The five rows of the ledger: name, which part, from where to where its bar runs, colour.
const LEDGER = [
  ["reconstruction", (t) => [t.recon, t.recon, 0], "--idea-third"],
  ["− KL(q ‖ prior)", (t) => [-t.kl, t.elbo, t.recon], "--idea-q"],
  ["= ELBO", (t) => [t.elbo, t.elbo, 0], "--idea-line", "sum"],
  ["+ gap", (t) => [t.gap, t.elbo, t.log_px], "--idea-p"],
  ["= log p(x)", (t) => [t.log_px, t.log_px, 0], "--idea-line", "sum"],
];

function ledgerTable() {
  const body = make("tbody"), refreshers = [];
  for (const [name, parts, colour, kind = ""] of LEDGER) {
    const bar = make("span"), track = make("div", {}, bar), number = make("td", { className: "number" });
    bar.style.background = `var(${colour})`;
    track.setAttribute("aria-hidden", "true");
    body.append(make("tr", { className: kind }, make("th", { textContent: name, scope: "row" }), make("td", { className: "bar" }, track), number));
    refreshers.push((terms) => {
      const [value, from, to] = parts(terms), percent = (nats) => 100 * (1 - clamp(nats / LOWEST, 0, 1));
      bar.style.left = `${percent(from)}%`;
      bar.style.width = `${percent(to) - percent(from)}%`;
      bar.classList.toggle("cut", from < LOWEST); // it goes on beyond the left end
      number.textContent = written(value);
    });
  }
  const caption = make("caption", { textContent: "In nats; the bars run from −8 to 0, one line for each nat" });
  return { table: make("table", {}, caption, body), refresh: (terms) => refreshers.forEach((refresh) => refresh(terms)) };
}

const LEGEND = [["--idea-p", "true posterior p(z|x)"], ["--idea-q", "q(z|x): drag it, or its ends"], ["--idea-line", "prior p(z), dashed"]];

function legend() {
  const items = LEGEND.map(([colour, text]) => {
    const swatch = make("i");
    swatch.style.background = `var(${colour})`;
    return make("span", {}, swatch, text);
  });
  return make("div", { className: "legend" }, ...items);
}

// Two pictures over the same axis: the densities with the handles of q, and below them where the gap comes from.
function paintPictures(svg, width, { mu, sigma }, bumps) {
  const floor = 158, zero = floor + 98, height = zero + 40, evidence = logEvidence(bumps);
  const x = (z) => ((z + FAR) / (2 * FAR)) * width, y = (density) => floor - density * 105;
  const depth = (value) => zero - clamp(value, -1.1, 2) * 34;
  const grid = Array.from({ length: 321 }, (_, i) => -FAR + (i * FAR) / 160);
  const posterior = (z) => Math.exp(logLikelihood(z, bumps) - evidence) * normal(z, 0, 1);
  const q = (z) => normal(z, mu, sigma);
  const share = (z) => q(z) < 1e-12 ? 0 : q(z) * (Math.log(q(z)) - logLikelihood(z, bumps) - Math.log(normal(z, 0, 1)) + evidence);
  const curve = (f, map) => path(grid.map((z) => [x(z), map(f(z))]));
  const area = (f, map, base) => `${curve(f, map)}L${width},${base}L0,${base}Z`;
  const line = (x1, x2, at, more) => draw("line", { x1, x2, y1: at, y2: at, stroke: "var(--idea-line)", ...more });
  const ticks = [-3, -2, -1, 0, 1, 2, 3].map((z) => draw("text", { x: x(z), y: floor + 24, "text-anchor": "middle" }, written(z, 0)));
  const ends = [mu - sigma, mu + sigma].map((z) => draw("circle", { cx: x(z), cy: floor, r: 7, fill: "var(--idea-face)", stroke: "var(--idea-q)", "stroke-width": 2.5 }));
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.style.height = `${height}px`;
  svg.replaceChildren(
    draw("path", { d: area(posterior, y, floor), fill: "var(--idea-p)", "fill-opacity": 0.25, stroke: "var(--idea-p)" }),
    draw("path", { d: area(q, y, floor), fill: "var(--idea-q)", "fill-opacity": 0.18, stroke: "var(--idea-q)", "stroke-width": 2.5 }),
    draw("path", { d: curve((z) => normal(z, 0, 1), y), fill: "none", stroke: "var(--idea-line)", "stroke-dasharray": "5 4" }), // on top: q starts as the prior
    line(0, width, floor),
    ...ticks,
    draw("text", { x: width - 6, y: floor + 24, "text-anchor": "end" }, "z"),
    line(x(mu - sigma), x(mu + sigma), floor, { stroke: "var(--idea-q)", "stroke-width": 4 }),
    ...ends,
    draw("circle", { cx: x(mu), cy: floor, r: 9, fill: "var(--idea-q)" }),
    draw("path", { d: area((z) => Math.max(0, share(z)), depth, zero), fill: "var(--idea-p)", "fill-opacity": 0.6 }),
    draw("path", { d: area((z) => Math.min(0, share(z)), depth, zero), fill: "var(--idea-third)", "fill-opacity": 0.6 }),
    line(0, width, zero),
  );
}

// Near the middle a pointer moves mu, at the ends of the bar it changes sigma, elsewhere it fetches q.
function grip(z, { mu, sigma }, perPixel) {
  const off = Math.abs(z - mu);
  if (off < Math.max(sigma / 2, 9 * perPixel)) return "mu";
  return off < sigma + 26 * perPixel ? "sigma" : "mu";
}

function render({ model, el, signal }) {
  const state = () => ({ mu: model.get("mu"), sigma: model.get("sigma") });
  const bumps = () => model.get("scenes")[model.get("scene")];
  const put = (values) => {
    for (const [name, value] of Object.entries(values)) model.set(name, value);
    model.save_changes();
  };
  const move = (name, value) => put({ [name]: Math.round(100 * clamp(value, ...LIMITS[name])) / 100 });

  const root = make("div", { className: "vae-idea" });
  const svg = draw("svg", { role: "img" });
  const sliders = ["mu", "sigma"].map((name, i) =>
    slider({
      label: `${"μσ"[i]} of q`, min: LIMITS[name][0], max: LIMITS[name][1], step: 0.05,
      get: () => state()[name], set: (value) => { stop(); move(name, value); },
      said: (value) => { const t = elboParts(state().mu, state().sigma, bumps()); return `${written(value)}; ELBO ${written(t.elbo)}, gap ${written(t.gap)} nats`; },
    }));
  const scene = make("select", { ariaLabel: "how many codes explain x" }, ...Object.keys(model.get("scenes")).map((name) => new Option(name)));
  scene.dataset.lmSuppressShortcuts = "true";
  scene.addEventListener("change", () => { stop(); put({ scene: scene.value }); });

  // Gradient ascent, shown step by step unless the reader has asked for less motion.
  let frame = 0;
  const stop = () => cancelAnimationFrame(frame);
  const climb = (steps) => {
    const next = climbed(state(), bumps());
    put({ mu: next.mu, sigma: next.sigma });
    if (steps > 1 && next.moved > 1e-3) frame = requestAnimationFrame(() => climb(steps - 1));
  };
  const arrive = () => {
    let at = state();
    for (let i = 0; i < 400; i++) at = climbed(at, bumps());
    put({ mu: at.mu, sigma: at.sigma });
  };
  const climbButton = make("button", { type: "button", textContent: "Climb the ELBO" });
  climbButton.addEventListener("click", () => { stop(); prefersStill() ? arrive() : climb(400); });
  const backButton = make("button", { type: "button", textContent: "q = prior" });
  backButton.addEventListener("click", () => { stop(); put({ mu: 0, sigma: 1 }); });

  const at = (event) => { const box = svg.getBoundingClientRect(); return ((event.clientX - box.left) / box.width - 0.5) * 2 * FAR; };
  let held = null;
  const drag = (event) => { if (held) move(held, held === "mu" ? at(event) : Math.abs(at(event) - state().mu)); };
  svg.addEventListener("pointerdown", (event) => {
    stop();
    held = grip(at(event), state(), (2 * FAR) / svg.clientWidth);
    svg.setPointerCapture(event.pointerId);
    if (held === "mu") drag(event);
  });
  svg.addEventListener("pointermove", drag);
  for (const name of ["pointerup", "pointercancel"]) svg.addEventListener(name, () => (held = null));

  const ledger = ledgerTable(), say = announcer(root);
  const paint = (width) => {
    const { mu, sigma } = state(), t = elboParts(mu, sigma, bumps());
    paintPictures(svg, width, { mu, sigma }, bumps());
    svg.setAttribute("aria-label", `Densities over z: the prior, the true posterior, and q with mean ${written(mu)} and standard deviation ${written(sigma)}. Below, the integrand of the gap.`);
    ledger.refresh(t);
    sliders.forEach((each) => each.refresh());
    scene.value = model.get("scene");
    say(`ELBO ${written(t.elbo)} nats: reconstruction ${written(t.recon)} minus KL ${written(t.kl)}. Gap ${written(t.gap)} to log p(x), ${written(t.log_px)}.`);
  };
  const below = make("p", { textContent: "Lower curve: q(z|x) · log (q(z|x) / p(z|x)). The area above its line minus the area below is the gap, KL(q ‖ posterior)." });
  root.append(legend(), svg, below, make("div", { className: "controls" }, ...sliders.flatMap((each) => each.row)), make("div", { className: "buttons" }, climbButton, backButton, scene), ledger.table);
  el.append(root);
  const pictures = painter(svg, paint);
  model.on("change:mu change:sigma change:scene change:scenes", pictures.ask);
  pictures.ask();
  const leave = () => { stop(); pictures.stop(); model.off("change:mu change:sigma change:scene change:scenes", pictures.ask); };
  signal?.addEventListener("abort", leave);
  return leave;
}

export default { render };
