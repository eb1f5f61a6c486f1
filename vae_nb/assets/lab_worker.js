// The lab's worker: it holds the data and the model, trains until it is told to stop, and sends numbers and pictures of where it is.
// Concatenated after `const TRAINING = "…"`, the compiled training.c, weights.js and trainer.js.

const MAP = 400, SIDE = 11, REACH = 3, SAMPLES = 10; // images on the map; tiles of a side, over ±REACH; samples
const TURN = 25; // milliseconds of training between two looks at what has been asked

// --- data ---

// What Python has packed: a line of JSON, a label for each image, then the images' bytes. Small images are enlarged by `resize`, a
// matrix that stands for both directions, and get a margin.
function unpackImages(bytes) {
  const line = bytes.indexOf(10), header = JSON.parse(new TextDecoder().decode(bytes.subarray(0, line)));
  const { n, shape: [height, width], small, resize, margin, unit } = header;
  const labels = bytes.subarray(line + 1, line + 1 + n), stored = bytes.subarray(line + 1 + n);
  if (!small) return { ...header, labels, pixels: stored };
  const pixels = new Uint8Array(n * height * width), side = resize.length, half = new Float64Array(side * small);
  const weighted = (row, values, from, stride) => { let sum = 0; for (let i = 0; i < small; i++) sum += row[i] * values[from + i * stride]; return sum; };
  for (let image = 0; image < n; image++) {
    for (let r = 0; r < side; r++) for (let c = 0; c < small; c++) half[r * small + c] = weighted(resize[r], stored, image * small * small + c, small);
    for (let r = 0; r < side; r++) for (let c = 0; c < side; c++) {
      const value = Math.round(unit * weighted(resize[c], half, r * small, 1));
      pixels[(image * height + r + margin) * width + c + margin] = Math.min(255, Math.max(0, value));
    }
  }
  return { ...header, labels, pixels };
}

// Points of the plane in five bent arms (Johnson et al. 2016), as images of two pixels.
function makePinwheel(n = 2000, held = 200) {
  const random = makeRandom(1), pixels = new Uint8Array(2 * n), labels = new Uint8Array(n);
  for (let i = 0; i < n; i++) {
    const along = 1 + 0.3 * random.normal(), across = 0.05 * random.normal();
    const turn = (2 * Math.PI * (labels[i] = i % 5)) / 5 + 0.25 * Math.exp(along), [c, s] = [Math.cos(turn), Math.sin(turn)];
    [along * c - across * s, along * s + across * c].forEach((value, axis) => (pixels[2 * i + axis] = Math.min(255, Math.max(0, Math.round(255 * (0.5 + value / 4.4))))));
  }
  return { n, held, shape: [1, 2], pixels, labels, names: ["arm 1", "arm 2", "arm 3", "arm 4", "arm 5"], points: true };
}

const UNIT = Float32Array.from({ length: 256 }, (_, byte) => byte / 255);

// Some of the images as numbers in [0, 1], a row for each.
function rowsOf({ pixels, size }, which) {
  const rows = new Float32Array(which.length * size);
  for (let i = 0; i < which.length; i++) {
    const from = which[i] * size, to = i * size;
    for (let p = 0; p < size; p++) rows[to + p] = UNIT[pixels[from + p]];
  }
  return rows;
}

function meanImage(data) {
  const mean = new Float64Array(data.size);
  for (let i = 0; i < data.trained * data.size; i++) mean[i % data.size] += data.pixels[i] / (255 * data.trained);
  return mean;
}

// --- training ---

const upTo = (n) => Array.from({ length: n }, (_, i) => i);

// A run: one model from its first step on. The same settings and seed make the same run.
function makeRun(kernels, data, settings) {
  const { latents, width, activation, likelihood, seed } = settings, batch = 256;
  const vae = makeVae(kernels, { pixels: data.size, latents, hidden: [width], activation, batch,
    likelihood: likelihood === "bernoulli" ? "bernoulli" : "normal", sigma: likelihood === "normal" ? 0.2 : "learned",
    start: data.points ? 0.03 : 0.3 }); // with a large σ the arms look like noise, and the latents die before σ has shrunk
  const random = makeRandom(seed), other = makeRandom(seed + 1000); // `other` draws what is looked at, and changes nothing in training
  startVae(vae, random, meanImage(data));
  const draws = (source, n) => Float32Array.from({ length: latents * n }, () => source.normal());
  const held = upTo(data.held).map((i) => data.trained + i), heldNoise = draws(other, data.held), sampleCodes = draws(other, data.points ? 256 : SAMPLES);
  // The pictures that are rebuilt: held-out ones, each with another label where there are labels.
  const pool = held.length ? held : upTo(Math.min(data.trained, 50));
  const shown = [...pool.filter((image, i) => pool.findIndex((other) => data.labels[other] === data.labels[image]) === i), ...pool].slice(0, 5);
  let order = [], place = 0, step = 0;
  const nextBatch = (n) => upTo(n).map(() => {
    if (place === order.length) {
      order = upTo(data.trained);
      for (let i = order.length - 1; i > 0; i--) { const j = random.below(i + 1); [order[i], order[j]] = [order[j], order[i]]; }
      place = 0;
    }
    return order[place++];
  });
  const train = ({ batch: size, rate, beta, bug }) => {
    const n = Math.min(size, data.trained, batch);
    step++;
    return vae.step(rowsOf(data, nextBatch(n)), draws(random, n), { rate, beta, bug });
  };
  // The model as a VAE, whatever bug it was trained with: −ELBO on the held-out images; an autoencoder has a reconstruction only.
  const judge = (bug) => {
    if (!held.length) return null;
    const sums = { recon: 0, kl: 0 };
    for (let i = 0; i < held.length; i += batch) {
      const part = held.slice(i, i + batch), noise = Float32Array.from({ length: latents * part.length }, (_, k) => heldNoise[Math.floor(k / part.length) * held.length + i + (k % part.length)]);
      const { recon, kl } = vae.loss(rowsOf(data, part), noise, bug === "autoencoder" ? { bug } : {});
      sums.recon += (recon * part.length) / held.length;
      sums.kl += (kl * part.length) / held.length;
    }
    return { recon: sums.recon, kl: bug === "autoencoder" ? null : sums.kl };
  };
  // mu of every image, by latent, and the KL of each latent.
  const encodeMany = (which) => {
    const mu = upTo(latents).map(() => []), kl = Array(latents).fill(0);
    for (let i = 0; i < which.length; i += batch) {
      const part = which.slice(i, i + batch), q = vae.encode(rowsOf(data, part));
      for (let l = 0; l < latents; l++) for (let k = 0; k < part.length; k++) {
        const at = l * part.length + k;
        mu[l].push(q.mu[at]);
        kl[l] += (0.5 * (q.mu[at] ** 2 + Math.expm1(q.logvar[at]) - q.logvar[at])) / which.length;
      }
    }
    return { mu, kl };
  };
  const encodeOne = (x) => { const { mu, logvar } = vae.encode(x); return { x, mu: [...mu], sigma: [...logvar].map((v) => Math.exp(v / 2)), rebuilt: vae.decode(mu) }; };
  const look = (drawing) => {
    const { mu, kl } = encodeMany(upTo(Math.min(MAP, data.trained)));
    const axes = upTo(latents).sort((a, b) => kl[b] - kl[a]).slice(0, 2).sort((a, b) => a - b);
    const tick = (i) => REACH * ((2 * i) / (SIDE - 1) - 1), tiles = SIDE * SIDE, codes = new Float32Array(latents * tiles);
    for (let i = 0; i < tiles; i++) [codes[axes[0] * tiles + i], codes[axes[1] * tiles + i]] = [tick(i % SIDE), -tick(Math.floor(i / SIDE))];
    const originals = rowsOf(data, shown), sampled = vae.decode(sampleCodes);
    const seen = data.points ? rowsOf(data, upTo(Math.min(MAP, data.trained))) : null; // of points all that are on the map are rebuilt
    return { step, kl, axes, map: axes.map((axis) => Float32Array.from(mu[axis])), grid: vae.decode(codes), originals,
      rebuilt: vae.decode(vae.encode(originals).mu), samples: sampled, sigma: likelihood === "bernoulli" ? null : vae.sigma(),
      drawing: drawing && encodeOne(drawing), cloud: seen && rebuildPoints(seen) };
  };
  const rebuildPoints = (seen) => { const out = []; for (let i = 0; i < seen.length; i += 2 * batch) out.push(...vae.decode(vae.encode(seen.slice(i, i + 2 * batch)).mu)); return Float32Array.from(out); };
  return { train, judge, look, encodeOne, steps: () => step, heldImage: (i) => rowsOf(data, [pool[i % pool.length]]), vae };
}

// --- what the page asks for ---

function startWorker(kernels, port, sets) {
  let run, data, settings, drawing = null, running = false, waiting = false, due = false, next = 0, history, since, trained, last, changed;
  const turns = new MessageChannel(); // comes back at once, and lets other messages in between; timers wait for 4 ms
  const now = () => performance.now();
  const fresh = () => (since = { steps: 0, loss: 0, square: 0, recon: 0, kl: 0, images: 0, start: now() });
  function reset(changes) {
    settings = { ...settings, ...changes };
    data = sets[settings.data];
    data = { ...data, size: data.shape[0] * data.shape[1], trained: data.n - data.held };
    if (drawing && drawing.length !== data.size) drawing = null;
    run = makeRun(kernels, data, settings);
    [history, trained, last, changed] = [[], 0, {}, 0];
    fresh();
  }
  function train() {
    const terms = run.train(settings);
    since.steps++;
    since.images += Math.min(settings.batch, data.trained);
    for (const name of ["loss", "recon", "kl"]) since[name] += terms[name];
    since.square += terms.loss ** 2;
    return Number.isFinite(terms.loss) || overflowed();
  }
  function overflowed() {
    running = false;
    port.postMessage({ broken: { step: run.steps(), rate: settings.rate, beta: settings.beta } });
    return false;
  }
  // A point of the curve: averages over the steps since the last one, and the spread of the loss from step to step.
  function point() {
    const { steps, images } = since, held = run.judge(settings.bug);
    trained += images;
    const mean = (name) => since[name] / steps;
    if (steps) last = { loss: mean("loss"), recon: mean("recon"), kl: mean("kl"), spread: Math.sqrt(Math.max(0, since.square / steps - mean("loss") ** 2)) };
    const found = { step: run.steps(), images: trained, held, ...last };
    if (steps || !history.length) history.push(found);
    if (history.length > 600) history = history.filter((_, i) => i % 2 === 0 || i > 500); // the curve keeps its ends, memory its size
    return found;
  }
  function send() {
    const start = now(), speed = since.images / Math.max(1e-3, (start - since.start) / 1000), latest = point(), look = run.look(drawing);
    if (![latest.held?.recon ?? 0, latest.held?.kl ?? 0, ...look.kl].every(Number.isFinite)) return overflowed(); // the step has spoilt the weights
    const state = { ...look, latest, history, running, settled: run.steps() - changed, epoch: trained / data.trained, speed: running && since.steps ? speed : null,
      settings: { ...settings }, labels: data.labels.subarray(0, Math.min(MAP, data.trained)), points: data.points ? rowsOf(data, upTo(Math.min(MAP, data.trained))) : null, shape: data.shape, names: data.names };
    port.postMessage({ state });
    waiting = true; // for the page to have painted it: pictures never queue up
    fresh();
    const rest = [0, 4, 12][(run.steps() > 0) + (run.steps() >= 300)]; // pictures are frequent at first, later they take a thirteenth of the time
    next = now() + Math.max(settings.calm ? 1000 : 120, rest * (now() - start));
  }
  turns.port1.onmessage = () => {
    if (!running) return;
    for (const end = now() + TURN; now() < end; ) if (!train()) return;
    if (!waiting && now() >= next) send();
    turns.port2.postMessage(0);
  };
  const go = () => { if (!running) { running = true; fresh(); next = now() + 120; turns.port2.postMessage(0); } };
  return ({ data: message }) => {
    if (message.reset) reset(message.reset);
    if (message.change) [settings, changed] = [{ ...settings, ...message.change }, run.steps()];
    if (message.draw !== undefined) drawing = message.draw === "held" ? run.heldImage(message.which) : message.draw;
    if (message.seen) waiting = false;
    if (message.seen && due && !running) { due = false; send(); }
    if (message.run) go();
    if (message.pause) running = false;
    if (message.step) { running = false; if (!train()) return; }
    if (message.weights) port.postMessage({ weights: run.vae.parameters().map((values) => values.slice()), settings: { ...settings } });
    if (message.reset || message.pause || message.step) send();
    else if (message.draw !== undefined && !running) waiting ? (due = true) : send();
  };
}

onmessage = async ({ data: { pack, ...message } }) => {
  const early = [message]; // a button may be pressed before the kernels are compiled
  onmessage = ({ data }) => early.push(data);
  try {
    const { instance } = await WebAssembly.instantiate(bytesOf(TRAINING));
    onmessage = startWorker(instance.exports, globalThis, { images: unpackImages(pack), pinwheel: makePinwheel() });
    early.forEach((data) => onmessage({ data }));
  } catch (error) {
    postMessage({ failed: error.message });
  }
};
