// The lab as a reader sees it. It holds no numbers of its own: the worker trains and sends states, and this paints the newest.
// Concatenated after ideas.js, drawing.js and lab_exercises.js; `WORKER` and `STYLE` are texts that Python has put in.

const VERSION = 1; // of the settings; the Python class has the same
const COLOURS = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#fbafe4", "#949494", "#ece133", "#56b4e9"]; // seaborn's colour-blind palette
const REST = 180_000; // milliseconds without a touch after which it stops

const LISTS = {
  data: { images: "images", pinwheel: "points in the plane" },
  batch: [8, 16, 32, 64, 128, 256],
  width: [20, 50, 100, 200, 400],
  latents: [2, 3, 5, 10],
  likelihood: { bernoulli: "Bernoulli", normal: "Normal, σ = 0.2", normal_learned: "Normal, σ learned" },
  activation: ["silu", "relu", "tanh", "gelu", "leaky_relu", "elu"],
};
const BUGS = {
  none: ["none", "The loss is reconstruction + β · KL, summed over pixels and latents, averaged over images."],
  autoencoder: ["autoencoder: no KL, no noise", "Watch the codes leave the circles of the prior, and the tiles, which are drawn from the prior, become strange."],
  kl_averaged: ["the KL averaged over latents", "Watch the loss: it is lower than reconstruction + KL. The weight of the KL is 1 divided by the number of latents, and the codes spread further."],
  recon_averaged: ["the reconstruction averaged over pixels", "Watch the KL fall to 0 and the map collapse into one point: every reconstruction becomes the same average image."],
  exp_logvar: ["exp(logvar) as σ", "Compare the columns: there is less noise in training than the KL pays for, so training looks better than the held-out images, where the noise is right."],
  no_noise: ["no noise: z is the mean", "Compare the columns: the decoder has never seen noise, and the held-out reconstruction, which has it, costs far more."],
  shared_noise: ["one ε for the whole batch", "Watch the band around the training loss: it is wider, because the noise no longer averages out over a batch."],
};
const NEW_RUN = ["data", "width", "latents", "likelihood", "activation", "seed"]; // what a network is made of: a change starts again
const RANGES = { beta: [-2, 2], rate: [-4.5, 0.5] }; // powers of ten

// A sentence about settings that this page cannot use, as a notebook saved by another version might hold them.
function complaint(settings) {
  if (settings.version !== VERSION) return `This lab was saved by another version of vae_nb: its settings have version ${settings.version}, and this page understands ${VERSION}. Run its cell again.`;
  for (const [name, known] of Object.entries({ ...LISTS, bug: BUGS })) {
    const value = settings[name], fits = Array.isArray(known) ? typeof value === typeof known[0] && (typeof value === "string" ? known.includes(value) : Number.isInteger(value) && value > 0) : Object.hasOwn(known, value);
    if (!fits) return `This lab has a setting that the page does not know: ${name} is ${JSON.stringify(value)}. Run its cell again.`;
  }
  for (const name of ["beta", "rate"]) if (!(settings[name] >= 0 && Number.isFinite(settings[name]))) return `This lab has a setting that is not a number: ${name} is ${JSON.stringify(settings[name])}. Run its cell again.`;
  if (settings.latents < 2) return "This lab has one latent, and its map needs two. Run its cell again with latent_dim=2.";
  return "";
}

// --- pictures ---

const rounded = (value) => Number(value.toPrecision(2)).toLocaleString("en", { maximumFractionDigits: 6 });

// A canvas that is as sharp as the screen: `begin()` clears it and returns its context and its size in CSS pixels.
function makeCanvas(alt, aspect = 1) {
  const canvas = make("canvas", { ariaLabel: alt, className: "drawn" });
  canvas.setAttribute("role", "img");
  canvas.style.aspectRatio = aspect;
  const begin = () => {
    const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight, context = canvas.getContext("2d");
    if (canvas.width !== Math.round(width * scale)) [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = "12px system-ui, sans-serif";
    return { context, width, height };
  };
  return { canvas, begin };
}

// Colours of the page's theme.
const paints = (element) => { const style = getComputedStyle(element); return (name) => style.getPropertyValue(`--idea-${name}`).trim(); };

function dots(context, xs, ys, labels, place, radius = 2) {
  for (let colour = 0; colour < COLOURS.length; colour++) {
    context.fillStyle = COLOURS[colour];
    context.beginPath();
    for (let i = 0; i < xs.length; i++) if (labels[i] % COLOURS.length === colour) { const [x, y] = place(xs[i], ys[i]); context.moveTo(x + radius, y); context.arc(x, y, radius, 0, 7); }
    context.fill();
  }
}

// Text that can be read on any ground.
function label(context, colour, text, x, y, align = "center") {
  Object.assign(context, { textAlign: align, textBaseline: "middle", lineJoin: "round", lineWidth: 3.5, strokeStyle: colour("face"), fillStyle: colour("text") });
  context.strokeText(text, x, y);
  context.fillText(text, x, y);
}

// Places of labels, moved until they do not cover each other.
function apart(spots, least = 15) {
  for (let round = 0; round < 20; round++)
    for (const [i, a] of spots.entries()) for (const b of spots.slice(0, i)) {
      const [x, y] = [a[0] - b[0], a[1] - b[1]], far = Math.hypot(x, y) || 1, push = Math.max(0, least - far) / (2 * far);
      [a[0], a[1], b[0], b[1]] = [a[0] + push * x, a[1] + push * y, b[0] - push * x, b[1] - push * y];
    }
  return spots;
}

// Half the map's width: the circles fit in, and 98 of 100 codes.
function reachOf(codes) {
  const sizes = codes.flatMap((axis) => [...axis].map(Math.abs)).sort((a, b) => a - b), most = sizes[Math.floor(0.98 * sizes.length)] ?? 0;
  return [3.6, 5, 8, 12, 20, 30, 50, 100, 200, 500].find((reach) => reach >= most) ?? 1000;
}

function paintMap({ canvas, begin }, state) {
  const { context, width } = begin(), colour = paints(canvas), reach = reachOf(state.map), scale = width / (2 * reach);
  const place = (x, y) => [width / 2 + x * scale, width / 2 - y * scale];
  const circle = (radius, dash) => { context.setLineDash(dash); context.beginPath(); context.arc(width / 2, width / 2, radius * scale, 0, 7); context.stroke(); };
  dots(context, ...state.map, state.labels, place);
  Object.assign(context, { strokeStyle: colour("line"), lineWidth: 1 });
  [1, 2, 3].forEach((radius) => circle(radius, [4, 3]));
  context.setLineDash([]);
  const groups = new Map();
  state.labels.forEach((group, i) => { const all = groups.get(group) ?? groups.set(group, []).get(group); all.push([state.map[0][i], state.map[1][i]]); });
  context.font = "600 14px system-ui, sans-serif";
  const middle = (all, axis) => all.map((code) => code[axis]).sort((a, b) => a - b)[Math.floor(all.length / 2)];
  if (state.names && state.step) {
    const spots = apart([...groups.values()].map((all) => place(middle(all, 0), middle(all, 1))));
    [...groups.keys()].forEach((group, i) => label(context, colour, state.names[group], ...spots[i]));
  }
  context.font = "12px system-ui, sans-serif";
  label(context, colour, `z[${state.axes[0]}]`, width - 6, width - 12, "right");
  label(context, colour, `z[${state.axes[1]}]`, 6, 12, "left");
  if (!state.drawing) return;
  const { mu, sigma } = state.drawing, [a, b] = state.axes;
  Object.assign(context, { strokeStyle: colour("text"), fillStyle: colour("text"), lineWidth: 2 });
  for (const times of [1, 2]) { context.beginPath(); context.ellipse(...place(mu[a], mu[b]), Math.max(1, times * sigma[a] * scale), Math.max(1, times * sigma[b] * scale), 0, 0, 7); context.stroke(); }
  context.beginPath();
  context.arc(...place(mu[a], mu[b]), 3.5, 0, 7);
  context.fill();
}

// Images side by side on one canvas of their own pixels; the style sheet enlarges it.
function paintTiles(canvas, values, [height, width], columns) {
  const size = height * width, n = values.length / size, rows = Math.ceil(n / columns);
  if (canvas.width !== columns * width || canvas.height !== rows * height) [canvas.width, canvas.height] = [columns * width, rows * height];
  const context = canvas.getContext("2d"), pixels = context.createImageData(columns * width, rows * height);
  for (let i = 0; i < n; i++)
    for (let p = 0; p < size; p++) {
      const at = 4 * ((Math.floor(i / columns) * height + Math.floor(p / width)) * columns * width + (i % columns) * width + (p % width));
      pixels.data[at] = pixels.data[at + 1] = pixels.data[at + 2] = 255 * values[i * size + p];
      pixels.data[at + 3] = 255;
    }
  context.putImageData(pixels, 0, 0);
}

// Points of the plane, which a pair of pixels is: data or what became of them, and the grid of codes as the decoder bends it.
function paintCloud({ canvas, begin }, points, labels, grid) {
  const { context, width } = begin(), colour = paints(canvas), place = (x, y) => [width * x, width * (1 - y)];
  const axis = (offset) => Float32Array.from({ length: points.length / 2 }, (_, i) => points[2 * i + offset]);
  dots(context, axis(0), axis(1), labels, place, 1.6);
  if (!grid) return;
  Object.assign(context, { strokeStyle: colour("text"), lineWidth: 1.2, globalAlpha: 0.75 });
  const side = Math.sqrt(grid.length / 2);
  for (const step of [1, side]) for (let line = 0; line < side; line++) {
    context.beginPath();
    for (let i = 0; i < side; i++) { const at = 2 * (line * (step === 1 ? side : 1) + i * step); context.lineTo(...place(grid[at], grid[at + 1])); }
    context.stroke();
  }
  context.globalAlpha = 1;
}

// Round numbers between two ends, three to six of them.
function ticksBetween(low, high) {
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough)), step = [1, 2, 5, 10].map((times) => times * power).find((each) => each >= rough);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) ticks.push(tick);
  return ticks;
}

// The training loss with its spread from step to step, and the −ELBO of the held-out images, over the images seen.
function paintCurve({ canvas, begin }, history) {
  const { context, width, height } = begin(), colour = paints(canvas), [left, bottom, top] = [44, 22, 8];
  const heldOf = ({ held }) => held && held.recon + (held.kl ?? 0), known = history.filter((point) => point.loss !== undefined);
  if (known.length < 2) return label(context, colour, "The curve begins with the first steps.", width / 2, height / 2);
  const later = known.slice(Math.floor(known.length / 20)), all = [...later.map((point) => point.loss), ...later.map(heldOf).filter(Number.isFinite)];
  let [low, high] = [Math.min(...all), Math.max(...all)];
  [low, high] = [low - 0.08 * (high - low) - 1e-3, high + 0.08 * (high - low) + 1e-3];
  const last = known.at(-1).images, x = (images) => left + ((width - left - 8) * images) / last, y = (nats) => top + ((height - top - bottom) * (high - nats)) / (high - low);
  Object.assign(context, { textBaseline: "middle", textAlign: "right", fillStyle: colour("text"), strokeStyle: colour("faint"), lineWidth: 1 });
  const ticks = ticksBetween(low, high), digits = Math.max(0, Math.ceil(-Math.log10(ticks[1] - ticks[0]) - 1e-9));
  for (const tick of ticks) {
    context.fillText(written(tick, digits), left - 6, y(tick));
    context.beginPath();
    context.moveTo(left, y(tick));
    context.lineTo(width - 8, y(tick));
    context.stroke();
  }
  context.textAlign = "center";
  for (const tick of ticksBetween(0, last).slice(1)) if (x(tick) < width - 84) context.fillText(tick.toLocaleString("en"), x(tick), height - 9);
  context.textAlign = "right";
  context.fillText("images", width - 8, height - 9);
  context.save();
  context.beginPath();
  context.rect(left, 0, width - left, height - bottom);
  context.clip();
  context.fillStyle = colour("q");
  context.globalAlpha = 0.2;
  context.beginPath();
  known.forEach(({ images, loss, spread }) => context.lineTo(x(images), y(loss + spread)));
  known.toReversed().forEach(({ images, loss, spread }) => context.lineTo(x(images), y(loss - spread)));
  context.fill();
  context.globalAlpha = 1;
  const line = (value, stroke, dash) => {
    Object.assign(context, { strokeStyle: stroke, lineWidth: 2 });
    context.setLineDash(dash);
    context.beginPath();
    known.forEach((point) => Number.isFinite(value(point)) && context.lineTo(x(point.images), y(value(point))));
    context.stroke();
    context.setLineDash([]);
  };
  line((point) => point.loss, colour("q"), []);
  line(heldOf, colour("p"), [6, 3]);
  context.restore();
}

// --- numbers ---

const nats = (value) => (value === null || value === undefined ? "–" : written(value, Math.abs(value) < 10 ? 2 : 1));

function makeTable() {
  const cells = {}, line = (name, text, className = "") => make("tr", { className }, make("th", { scope: "row", textContent: text }), ...["train", "held"].map((column) => (cells[name + column] = make("td", { className: "number" }))));
  const head = make("tr", {}, make("td"), make("th", { scope: "col", textContent: "training" }), make("th", { scope: "col", textContent: "held-out" }));
  const table = make("table", {}, make("caption", { textContent: "Nats per image" }), make("thead", {}, head),
    make("tbody", {}, line("recon", "reconstruction"), line("kl", "+ KL"), line("elbo", "= −ELBO", "sum"), line("loss", "the loss that is minimised")));
  const latents = make("p", { className: "latents" });
  const refresh = ({ latest, kl, settings, sigma }) => {
    const { recon, held } = latest, plain = settings.bug === "autoencoder", trainKl = plain ? null : latest.kl;
    const sum = (terms) => (terms?.recon === undefined || terms.kl === null ? null : terms.recon + terms.kl);
    const shown = { recon: [recon, held?.recon], kl: [trainKl, held?.kl], elbo: [sum({ recon, kl: trainKl }), held && sum(held)], loss: [latest.loss, null] };
    for (const [name, [train, other]] of Object.entries(shown)) [cells[`${name}train`].textContent, cells[`${name}held`].textContent] = [nats(train), nats(other)];
    const each = kl.map((value, i) => `z[${i}] ${written(value)}`).join(", ");
    latents.textContent = `KL of each latent: ${each}.${sigma === null ? "" : ` σ of the likelihood: ${written(sigma, 3)}.`}`;
  };
  return { elements: [table, latents], refresh };
}

// --- the lab ---

// A labelled list of choices. `list` is an array of values, or value → text.
function picker(text, list, get, set) {
  const input = make("select", { ariaLabel: text }), options = Array.isArray(list) ? [...new Set([...list, get()])].sort((a, b) => a - b).map((value) => [value, String(value)]) : Object.entries(list);
  input.append(...options.map(([value, shown]) => new Option(shown, value)));
  input.dataset.lmSuppressShortcuts = "true";
  input.addEventListener("change", () => set(typeof get() === "number" ? Number(input.value) : input.value));
  return { row: [make("span", { textContent: text }), input, make("span")], refresh: () => (input.value = get()), input };
}

const press = (text, act) => { const element = make("button", { type: "button", textContent: text }); element.addEventListener("click", act); return element; };
const figure = (text, ...parts) => make("figure", {}, ...parts, make("figcaption", { textContent: text }));
const folded = (text, ...parts) => make("details", {}, make("summary", { textContent: text }), ...parts);

export function open({ model, root, data, signal }) {
  const wrong = complaint(model.get("settings"));
  if (wrong) throw Object.assign(new Error(wrong), { whole: true });
  root.replaceChildren(make("style", { textContent: STYLE }));
  const begun = { ...model.get("settings") };
  let settings = { ...begun }, state = null, running = false, hidden = null, touched = Date.now(), given = 0;
  const address = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
  const worker = new Worker(address), tell = (message) => worker.postMessage(message);
  URL.revokeObjectURL(address);

  const message = make("p", { className: "message" }), said = announcer(root), pace = make("p", { className: "pace" });
  message.setAttribute("role", "status");
  const say = (text) => message.textContent !== text && (message.textContent = text);
  const share = () => { model.set("settings", { ...settings, bug: hidden ? begun.bug : settings.bug }); model.save_changes(); };

  // What the reader does.
  const go = () => { running = true; touched = Date.now(); say(""); tell({ run: true }); refresh(); };
  const stop = (text = "") => { running = false; tell({ pause: true }); say(text); refresh(); };
  const reset = (changes = {}) => {
    settings = { ...settings, ...changes };
    given = 0;
    [drawing.fresh, state] = [true, null];
    tell({ pause: false, reset: { ...settings, calm: prefersStill() } });
    if (running) tell({ run: true });
    share();
    refresh();
  };
  const change = (changes) => {
    const again = Object.keys(changes).some((name) => NEW_RUN.includes(name));
    if (changes.data === "pinwheel") changes = { ...changes, likelihood: "normal_learned", latents: 2 };
    if (changes.data === "images") changes = { ...changes, likelihood: "bernoulli" };
    if (again) { say("A new network: training starts again."); return reset(changes); }
    settings = { ...settings, ...changes };
    tell({ change: changes });
    share();
    refresh();
  };

  const startButton = press("Pause", () => (running ? stop() : go())), stepButton = press("One step", () => { running = false; tell({ step: true }); refresh(); });
  const resetButton = press("Reset", () => { reset(); say("The same start again: same seed, same run."); });
  const power = (name, text, watch) => slider({
    label: text, min: RANGES[name][0], max: RANGES[name][1], step: 0.05, get: () => clamp(Math.log10(settings[name] || 1e-9), ...RANGES[name]),
    set: (value) => change({ [name]: Number((10 ** value).toPrecision(2)) }), shown: () => rounded(settings[name]), said: () => `${rounded(settings[name])}${watch}`,
  });
  const sliders = [power("beta", "β", ", the weight of the KL"), power("rate", "learning rate", "")];
  const pick = (name, text) => picker(text, LISTS[name], () => settings[name], (value) => change({ [name]: value }));
  const likelihoodOf = pick("likelihood", "likelihood");
  const pickers = [pick("data", "data"), pick("batch", "batch size"), pick("width", "width"), pick("latents", "latents"), likelihoodOf, pick("activation", "activation")];
  const bug = picker("bug", Object.fromEntries(Object.entries(BUGS).map(([name, [text]]) => [name, text])), () => (hidden ? "none" : settings.bug), (value) => change({ bug: value }));
  const watch = make("p", { className: "watch" });

  // What the reader sees.
  const map = makeCanvas("The latent map"), cloud = makeCanvas("Data and what the decoder makes of a grid"), curve = makeCanvas("The loss", 2.4), table = makeTable();
  const tiles = (alt) => { const canvas = make("canvas", { ariaLabel: alt, className: "tiles" }); canvas.setAttribute("role", "img"); return canvas; };
  const grid = tiles("What the decoder draws over the map"), originals = tiles("Held-out images"), rebuilt = tiles("Their reconstructions"), samples = tiles("Samples from the prior");
  const rebuiltCloud = makeCanvas("Reconstructions"), sampleCloud = makeCanvas("Samples"), [gridText, rowsText] = [make("figcaption"), make("figcaption")];
  const gridFigure = make("figure", {}, grid, cloud.canvas, gridText), rows = make("div", { className: "pair" }, make("figure", {}, originals, rebuilt, rowsText), figure("Samples: what is drawn from the prior, decoded", samples));
  const rebuiltFigure = make("div", { className: "pair" }, figure("The points, rebuilt from the means of q(z|x)", rebuiltCloud.canvas), figure("Samples: what is drawn from the prior, decoded", sampleCloud.canvas));
  const curveText = make("figcaption", {}, make("i", { className: "key solid" }), "training loss; the band is its spread from step to step ", make("i", { className: "key dash" }), "−ELBO of held-out images");

  // A digit of the reader's own, or a held-out one, shown on the map.
  const drawing = { fresh: true, which: 0 };
  const send = newestFrame(() => { const [height, width] = state?.shape ?? [28, 28]; tell({ draw: pixelsOf(centred(field.canvas, [1, height, width]), [1, height, width]) }); });
  const field = makeDrawing(send), seen = tiles("What the encoder gets"), back = tiles("What comes back"), where = make("p");
  const draw = folded("Draw your own digit", make("div", { className: "side-by-side" }, make("figure", {}, field.canvas, make("figcaption", { textContent: "draw here" })), figure("what is encoded", seen), figure("what is rebuilt", back)),
    make("div", { className: "buttons" }, press("Clear", () => { field.clear(); tell({ draw: null }); }), press("Take a held-out image", () => tell({ draw: "held", which: drawing.which++ }))), where);

  const exercises = makeExercises({ begun, reset, go, hide: (name) => { hidden = name; refresh(); }, bugs: BUGS });
  const more = folded("More settings", make("div", { className: "controls" }, ...pickers.flatMap(({ row }) => row)));
  root.append(make("div", { className: "buttons" }, startButton, stepButton, resetButton), pace, message,
    make("div", { className: "controls" }, ...sliders.flatMap(({ row }) => row), ...bug.row), watch,
    make("div", { className: "pair" }, figure("The map: where the encoder puts images, by class. Circles: 1, 2 and 3 standard deviations of the prior.", map.canvas), gridFigure),
    make("div", { className: "pair" }, make("figure", {}, curve.canvas, curveText), make("div", {}, ...table.elements)), rows, rebuiltFigure, draw, exercises.element, more);

  function refresh() {
    [...sliders, ...pickers, bug].forEach((each) => each.refresh());
    startButton.textContent = running ? "Pause" : "Train";
    bug.input.disabled = hidden !== null;
    watch.textContent = hidden ? "A bug may be on. Which one?" : BUGS[settings.bug][1];
    likelihoodOf.input.querySelector("[value=bernoulli]").disabled = settings.data === "pinwheel";
    root.dataset.running = running;
  }
  function paint() {
    if (!state) return;
    const { shape, points } = state, more = state.settings.latents > 2 ? `, along the two most used latents, z[${state.axes[0]}] and z[${state.axes[1]}]` : "";
    for (const [element, shownFor] of [[grid, !points], [rows, !points], [draw, !points], [cloud.canvas, points], [rebuiltFigure, points]]) element.hidden = !shownFor;
    gridText.textContent = points ? "The data, and the decoder's image of a square grid from −3 to 3 on the map." : `What the decoder draws from −3 to 3 on the map${more}.`;
    rowsText.textContent = `Five ${state.latest.held ? "held-out" : "training"} images, and below them their reconstructions`;
    paintMap(map, state);
    if (points) { paintCloud(cloud, points, state.labels, state.grid); paintCloud(rebuiltCloud, state.cloud, state.labels); paintCloud(sampleCloud, state.samples, Array(state.samples.length / 2).fill(0)); }
    else {
      paintTiles(grid, state.grid, shape, Math.sqrt(state.grid.length / (shape[0] * shape[1])));
      paintTiles(originals, state.originals, shape, 5);
      paintTiles(rebuilt, state.rebuilt, shape, 5);
      paintTiles(samples, state.samples, shape, 5);
    }
    paintCurve(curve, state.history);
    table.refresh(state);
    if (state.drawing && !points) {
      paintTiles(seen, state.drawing.x, shape, 1);
      paintTiles(back, state.drawing.rebuilt, shape, 1);
      where.textContent = `q(z|x): ${state.drawing.mu.map((mu, i) => `z[${i}] ${written(mu)} ± ${written(state.drawing.sigma[i])}`).join(", ")}. The ellipses on the map are one and two standard deviations.`;
    } else where.textContent = "";
    const speed = state.speed ? ` · ${Math.round(state.speed / 100) * 100 >= 1000 ? (Math.round(state.speed / 100) * 100).toLocaleString("en") : Math.round(state.speed)} images/s` : "";
    pace.textContent = `step ${state.step.toLocaleString("en")} · epoch ${written(state.epoch, 1)}${speed}`;
    map.canvas.ariaLabel = `The latent map after ${state.step} steps. KL of each latent: ${state.kl.map((value) => written(value)).join(", ")} nats`;
    root.dataset.step = state.step;
  }
  // At rest the numbers are said once; while it trains they are text that can be read, and nothing is announced.
  const sayNumbers = ({ step, latest: { held, loss } }) => said(`Paused at step ${step}. ${loss === undefined ? "" : `Loss ${nats(loss)}. `}${held ? `Held-out reconstruction ${nats(held.recon)}, KL ${nats(held.kl)} nats per image.` : ""}`);

  worker.onerror = (event) => { running = false; say(`The lab has failed: ${event.message ?? "its worker did not start"}. Reload the page to try again.`); refresh(); };
  worker.onmessage = ({ data: { state: newest, broken, failed, weights, settings: made } }) => {
    if (failed) { running = false; say(typeof WebAssembly === "undefined" ? "WebAssembly is switched off in this browser, so nothing can be trained." : `This browser cannot train the network (${failed}).`); }
    if (broken) {
      running = false;
      say(`The loss is no longer a number after ${broken.step} steps: with a learning rate of ${rounded(broken.rate)}${broken.beta > 10 ? ` and β = ${rounded(broken.beta)}` : ""} a step went so far that a number overflowed. Lower the learning rate, then press Reset.`);
    }
    if (weights) model.send({ trained: { ...made, shape: state?.shape, step: state?.step ?? 0 } }, undefined, weights.map((values) => values.buffer));
    if (newest) {
      state = newest;
      requestAnimationFrame(() => { paint(); tell({ seen: true }); });
      exercises.see(state);
      if (!state.running) sayNumbers(state);
      if (!state.running && state.step !== given) { given = state.step; tell({ weights: true }); } // once for each rest
    }
    refresh();
  };

  // It stops by itself: when the page is hidden, and when nobody has touched it for three minutes.
  const touch = () => (touched = Date.now()), events = ["pointerdown", "pointermove", "keydown", "input"];
  events.forEach((name) => root.addEventListener(name, touch));
  const hideAway = () => { if (document.hidden && running) stop("Paused while the page was hidden."); };
  document.addEventListener("visibilitychange", hideAway);
  const watchman = setInterval(() => { if (running && Date.now() - touched > REST) stop("Paused after three minutes without a touch."); }, 1000);
  const widths = new ResizeObserver(() => requestAnimationFrame(paint));
  widths.observe(root);
  // canvases do not follow the style sheet: they are painted anew when the theme changes
  const repaint = () => requestAnimationFrame(paint), themes = new MutationObserver(repaint), dark = matchMedia("(prefers-color-scheme: dark)");
  for (const element of [document.documentElement, document.body]) themes.observe(element, { attributeFilter: ["data-theme", "data-jp-theme-light"] });
  dark.addEventListener("change", repaint);
  const leave = () => { clearInterval(watchman); document.removeEventListener("visibilitychange", hideAway); widths.disconnect(); themes.disconnect(); dark.removeEventListener("change", repaint); worker.terminate(); };
  signal?.addEventListener("abort", leave);

  worker.postMessage({ pack: data, reset: { ...settings, calm: prefersStill() }, run: true }, [data.buffer]);
  running = true;
  if (document.hidden) stop("Paused while the page was hidden."); // it was hidden while the lab was loading
  refresh();
  startButton.focus({ preventScroll: true });
  if (map.canvas.getBoundingClientRect().bottom > innerHeight) root.scrollIntoView({ behavior: prefersStill() ? "auto" : "smooth" }); // the map is what to look at
  return leave;
}

// Calls `work` once a frame at most.
function newestFrame(work) {
  let asked = false;
  return () => { if (!asked) requestAnimationFrame(() => { asked = false; work(); }); asked = true; };
}
