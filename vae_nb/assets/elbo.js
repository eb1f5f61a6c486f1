// ElboExplorer: the reader moves q(z|x) on the line and sees what becomes of the two ways to write the ELBO. Concatenated after line.js.

const LOWEST = -8; // nats at the left end of the bars

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

// Two pictures over the same axis: the densities with the handles of q, and below them where the gap comes from.
function paintPictures(svg, width, { mu, sigma }, bumps) {
  const floor = 158, zero = floor + 98, height = zero + 40, evidence = logEvidence(bumps);
  const depth = (value) => zero - clamp(value, -1.1, 2) * 34;
  const q = (z) => normal(z, mu, sigma);
  const share = (z) => q(z) < 1e-12 ? 0 : q(z) * (Math.log(q(z)) - logLikelihood(z, bumps) - Math.log(normal(z, 0, 1)) + evidence);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.style.height = `${height}px`;
  svg.replaceChildren(
    ...densities(width, floor, { mu, sigma }, bumps),
    draw("path", { d: area((z) => Math.max(0, share(z)), width, depth, zero), fill: "var(--idea-p)", "fill-opacity": 0.6 }),
    draw("path", { d: area((z) => Math.min(0, share(z)), width, depth, zero), fill: "var(--idea-third)", "fill-opacity": 0.6 }),
    level(0, width, zero),
  );
}

function render({ model, el, signal }) {
  const root = make("div", { className: "vae-idea" }), svg = draw("svg", { role: "img" });
  let frame = 0;
  const stop = () => cancelAnimationFrame(frame);
  const parts = () => elboParts(q.state().mu, q.state().sigma, q.bumps());
  const q = makeQ({ model, before: stop, said: () => { const t = parts(); return `ELBO ${written(t.elbo)}, gap ${written(t.gap)} nats`; } });

  // Gradient ascent, shown step by step unless the reader has asked for less motion.
  const climb = (steps) => {
    const next = climbed(q.state(), q.bumps());
    q.put({ mu: next.mu, sigma: next.sigma });
    if (steps > 1 && next.moved > 1e-3) frame = requestAnimationFrame(() => climb(steps - 1));
  };
  const arrive = () => {
    let at = q.state();
    for (let i = 0; i < 400; i++) at = climbed(at, q.bumps());
    q.put({ mu: at.mu, sigma: at.sigma });
  };
  const climbButton = button("Climb the ELBO", () => { stop(); prefersStill() ? arrive() : climb(400); });
  const backButton = button("q = prior", () => { stop(); q.put({ mu: 0, sigma: 1 }); });
  q.draggedIn(svg);

  const ledger = ledgerTable(), say = announcer(root);
  const paint = (width) => {
    const { mu, sigma } = q.state(), t = parts();
    paintPictures(svg, width, { mu, sigma }, q.bumps());
    svg.setAttribute("aria-label", `Densities over z: the prior, the true posterior, and q with mean ${written(mu)} and standard deviation ${written(sigma)}. Below, the integrand of the gap.`);
    ledger.refresh(t);
    q.refresh();
    say(`ELBO ${written(t.elbo)} nats: reconstruction ${written(t.recon)} minus KL ${written(t.kl)}. Gap ${written(t.gap)} to log p(x), ${written(t.log_px)}.`);
  };
  const below = make("p", { textContent: "Lower curve: q(z|x) · log (q(z|x) / p(z|x)). The area above its line minus the area below is the gap, KL(q ‖ posterior)." });
  root.append(legend(LEGEND), svg, below, make("div", { className: "controls" }, ...q.rows), make("div", { className: "buttons" }, climbButton, backButton, q.scene), ledger.table);
  el.append(root);
  return shownWhile({ model, svg, names: "change:mu change:sigma change:scene change:scenes", paint, leaving: stop, signal });
}

export default { render };
