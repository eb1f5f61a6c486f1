// BoundExplorer: the importance-weighted bound with k samples, its spread, and the weights of k draws, on the line of line.js, which it follows.

const KS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]; // positions of the slider
const EULER = 0.5772156649015329;
const STEP = 0.5; // of log s

const logWeight = (noise, mu, sigma, bumps) => {
  const z = mu + sigma * noise;
  return logLikelihood(z, bumps) + (noise ** 2 - z ** 2) / 2 + Math.log(sigma);
};

// φ(s) = E exp(−s w) and the density of log s that belongs to it, at log s in steps; sums over 301 points of mu ± 6 sigma.
function transform(mu, sigma, bumps) {
  const noise = Array.from({ length: 301 }, (_, i) => -6 + i / 25), bell = noise.map((e) => Math.exp(-(e ** 2) / 2));
  const total = bell.reduce((sum, value) => sum + value, 0), share = bell.map((value) => value / total);
  const log = noise.map((e) => logWeight(e, mu, sigma, bumps)), low = -Math.max(...log) - 30;
  const n = Math.ceil((4 - Math.min(...log) - low) / STEP) + 1;
  return Array.from({ length: n }, (_, j) => {
    const u = low + j * STEP;
    let phi = 0, density = 0;
    for (let i = 0; i < log.length; i++) {
      const at = u + log[i];
      if (at > 4) continue; // less than 1e-23
      const s = Math.exp(at), kept = share[i] * Math.exp(-s);
      phi += kept;
      density += kept * s;
    }
    return [u, phi, density];
  });
}

// The bound with k samples and the standard deviation of one estimate of it, exactly. If E is exponential and X the mean of k weights, E / X exceeds t
// with probability φ(t / k)^k. So the mean and variance of log X follow from those of log (E / X), and log E has −EULER and π² / 6.
export function boundParts(mu, sigma, bumps, k, table = transform(mu, sigma, bumps)) {
  const mass = table.map(([, phi, density]) => k * phi ** (k - 1) * density * STEP);
  const mean = mass.reduce((sum, p, j) => sum + p * table[j][0], 0);
  const variance = mass.reduce((sum, p, j) => sum + p * (table[j][0] - mean) ** 2, 0) - Math.PI ** 2 / 6;
  const bound = -EULER - mean - Math.log(k), log_px = logEvidence(bumps);
  return { bound, gap: log_px - bound, spread: Math.sqrt(Math.max(0, variance)), log_px };
}

// What the draws that are shown make of it: their shares of the sum, the estimate, and how many of them count.
export function drawParts(mu, sigma, bumps, noise) {
  const log = noise.map((e) => logWeight(e, mu, sigma, bumps)), top = Math.max(...log);
  const raised = log.map((value) => Math.exp(value - top)), total = raised.reduce((sum, value) => sum + value, 0);
  const shares = raised.map((value) => value / total);
  return { shares, estimate: top + Math.log(total / noise.length), effective: 1 / shares.reduce((sum, share) => sum + share ** 2, 0) };
}

const LEGEND = [["--idea-p", "true posterior p(z|x)"], ["--idea-q", "q(z|x): drag it, or its ends"], ["--idea-third", "the draws, and their shares of the sum"]];

// Below the axis a bar for each draw, in relation to the largest share.
function paintDraws(width, top, z, shares) {
  const most = Math.max(...shares);
  return z.map((at, i) => draw("line", { x1: place(at, width), x2: place(at, width), y1: top, y2: top + 3 + (43 * shares[i]) / most, stroke: "var(--idea-third)", "stroke-width": 3, "stroke-opacity": 0.75 }));
}

// The bound over k, with the spread of one estimate around it, and the estimate of the draws shown.
function paintBound(width, top, rows, k, estimate) {
  const left = 34, right = width - 14, high = 132, log_px = rows[0].log_px, most = Math.log(KS.at(-1));
  const x = (n) => left + (Math.log(n) / most) * (right - left);
  const y = (nats) => top + high * (1 - (clamp(nats - log_px, -3.2, 1.2) + 3.2) / 4.4);
  const points = (of) => rows.map((row, i) => [x(KS[i]), y(of(row))]);
  const band = path([...points((r) => r.bound + r.spread), ...points((r) => r.bound - r.spread).reverse()]) + "Z";
  const nats = [-3, -2, -1, 0, 1].flatMap((off) => {
    const at = y(log_px + off);
    return [level(left, right, at, off ? { stroke: "var(--idea-faint)" } : { stroke: "var(--idea-p)", "stroke-width": 2, "stroke-dasharray": "6 4" }), draw("text", { x: left - 6, y: at + 4, "text-anchor": "end" }, written(off, 0))];
  });
  const ticks = KS.filter((n) => Number.isInteger(Math.log2(n))).map((n) => draw("text", { x: x(n), y: top + high + 18, "text-anchor": "middle" }, n));
  const now = x(clamp(k, 1, KS.at(-1)));
  return [
    ...nats,
    draw("path", { d: band, fill: "var(--idea-q)", "fill-opacity": 0.16 }),
    draw("path", { d: path(points((r) => r.bound)), fill: "none", stroke: "var(--idea-q)", "stroke-width": 2.5 }),
    draw("line", { x1: now, x2: now, y1: top, y2: top + high, stroke: "var(--idea-line)" }),
    draw("circle", { cx: now, cy: y(estimate), r: 6, fill: "var(--idea-third)", stroke: "var(--idea-face)", "stroke-width": 2 }),
    ...ticks,
    draw("text", { x: left, y: top - 8 }, "nats from log p(x), against samples k"),
  ];
}

const ROWS = [
  ["bound", "bound with k samples"], ["gap", "gap to log p(x)"], ["spread", "spread of one estimate"],
  ["estimate", "estimate of the draws shown"], ["effective", "draws that count"],
];

function numbersTable() {
  const cells = {}, body = make("tbody");
  for (const [name, text] of ROWS) body.append(make("tr", {}, make("th", { scope: "row", textContent: text }), (cells[name] = make("td", { className: "number" }))));
  const caption = make("caption", { textContent: "In nats, but for the last row" });
  return { table: make("table", {}, caption, body), refresh: (values) => ROWS.forEach(([name]) => (cells[name].textContent = written(values[name], name === "effective" ? 1 : 3))) };
}

function render({ model, el, signal }) {
  const root = make("div", { className: "vae-idea" }), svg = draw("svg", { role: "img" });
  let known = {}; // the transform is needed several times for one picture
  const table = () => {
    const state = [q.state().mu, q.state().sigma, q.bumps()], key = JSON.stringify(state);
    if (known.key !== key) known = { key, table: transform(...state) };
    return known.table;
  };
  const at = (k) => boundParts(q.state().mu, q.state().sigma, q.bumps(), k, table());
  const parts = () => at(model.get("k"));
  const said = () => { const t = parts(); return `bound ${written(t.bound)}, gap ${written(t.gap, 3)}, spread ${written(t.spread)} nats`; };
  const q = makeQ({ model, said });
  const nearest = () => KS.reduce((best, n, i) => (Math.abs(n - model.get("k")) < Math.abs(KS[best] - model.get("k")) ? i : best), 0);
  const samples = slider({ label: "samples k", min: 0, max: KS.length - 1, step: 1, get: nearest, set: (i) => q.put({ k: KS[i] }), shown: () => `${model.get("k")}`, said: () => `${model.get("k")} samples; ${said()}` });
  const noise = () => { const given = model.get("noise"); return Array.from({ length: model.get("k") }, (_, i) => given[i % given.length]); };
  const again = button("Draw again", () => q.put({ noise: model.get("noise").map(() => Number(gaussian().toFixed(3))) }));
  const back = button("q = prior", () => q.put({ mu: 0, sigma: 1 }));
  q.draggedIn(svg);

  const numbers = numbersTable(), say = announcer(root);
  const paint = (width) => {
    const { mu, sigma } = q.state(), bumps = q.bumps(), k = model.get("k"), now = parts();
    const shown = drawParts(mu, sigma, bumps, noise()), floor = 158, bars = floor + 34, chart = bars + 78;
    svg.setAttribute("viewBox", `0 0 ${width} ${chart + 156}`);
    svg.style.height = `${chart + 156}px`;
    svg.replaceChildren(...densities(width, floor, { mu, sigma }, bumps), level(0, width, bars), ...paintDraws(width, bars, noise().map((e) => mu + sigma * e), shown.shares), ...paintBound(width, chart, KS.map(at), k, shown.estimate));
    svg.setAttribute("aria-label", `Densities over z with ${k} draws from q and their weights; below, the bound for 1 to ${KS.at(-1)} samples, which rises towards log p(x).`);
    numbers.refresh({ ...now, ...shown });
    samples.refresh();
    q.refresh();
    say(`With ${k} samples the bound is ${written(now.bound)} nats, ${written(now.gap, 3)} below log p(x); one estimate spreads by ${written(now.spread)}. ${written(shown.effective, 1)} of the draws count.`);
  };
  const below = make("p", { textContent: "The band is one standard deviation of a single estimate to each side of the bound; the dot is the estimate of the draws shown. Both bound and band are exact." });
  root.append(legend(LEGEND), svg, below, make("div", { className: "controls" }, ...samples.row, ...q.rows), make("div", { className: "buttons" }, again, back, q.scene), numbers.table);
  el.append(root);
  return shownWhile({ model, svg, names: "change:k change:mu change:sigma change:noise change:scene change:scenes", paint, signal });
}

export default { render };
