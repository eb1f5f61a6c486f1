// A VAE that learns in the page: three distributions, one loss, and the chain rule by hand. The arithmetic is training.c.
//
// A batch is stored by feature: a row for each feature, a column for each image. Places in the kernels' memory are counted in bytes.

const ACTIVATIONS = ["silu", "relu", "tanh", "gelu", "leaky_relu", "elu"]; // in the order of training.c

// What each bug changes. `half` is the factor of logvar in σ = exp(logvar / 2), `noise` the factor of ε, `shared` gives one ε to the
// whole batch, `kl` and `recon` are factors of the two terms of the loss.
const HEALTHY = { half: 0.5, noise: 1, shared: false, kl: 1, recon: 1 };
const bugs = (latents, pixels) => ({
  none: {},
  autoencoder: { noise: 0, kl: 0 },
  kl_averaged: { kl: 1 / latents },
  recon_averaged: { recon: 1 / pixels },
  exp_logvar: { half: 1 },
  no_noise: { noise: 0 },
  shared_noise: { shared: true },
});

// --- room for numbers ---

// Hands out places in the kernels' memory, from the start of what is free. Views of it end when it grows: take them anew.
function makeRoom({ heap, memory }) {
  let end = (heap() + 15) & ~15;
  new Uint8Array(memory.buffer).fill(0, end); // a model that was here before leaves nothing behind
  const take = (size) => {
    const at = end;
    end += (4 * size + 15) & ~15; // whole Fours
    memory.grow(Math.max(0, Math.ceil((end - memory.buffer.byteLength) / 65536)));
    return at;
  };
  return { take, view: (at, size) => new Float32Array(memory.buffer, at, size) };
}

// --- a chain of linear layers, forwards and backwards ---

// `own` finds room for what is learned: the place of the numbers and that of their gradient.
function makeChain(sizes, activation, batch, take, own) {
  return sizes.slice(1).map((rows, i) => {
    const columns = sizes[i], hidden = i < sizes.length - 2;
    const [[weight, dWeight], [bias, dBias]] = [own(rows * columns), own(rows)];
    const [out, gradient, slope, turned] = [rows, rows, rows, columns].map((size) => take(size * batch));
    return { rows, columns, hidden, kind: ACTIVATIONS.indexOf(activation), weight, dWeight, bias, dBias, out, gradient, slope, turned };
  });
}

// y = f(W x + b), layer by layer; returns the place of the output.
function forward(kernels, chain, x, n) {
  for (const layer of chain) {
    layer.input = x;
    kernels.product(layer.weight, layer.columns, 1, x, layer.bias, layer.out, layer.rows, layer.columns, n);
    if (layer.hidden) kernels.activate(layer.kind, layer.out, layer.slope, layer.rows * n);
    x = layer.out;
  }
  return x;
}

// The chain rule, from the gradient by the output (in the last layer's `gradient`) to those by weights, biases and, if asked for, the input.
function backward(kernels, chain, n, dInput) {
  for (let i = chain.length - 1; i >= 0; i--) {
    const layer = chain[i], below = i ? chain[i - 1].gradient : dInput;
    if (layer.hidden) kernels.multiply(layer.gradient, layer.slope, layer.rows * n);
    kernels.transpose(layer.input, layer.turned, layer.columns, n);
    kernels.product(layer.gradient, n, 1, layer.turned, 0, layer.dWeight, layer.rows, n, layer.columns); // dW = dy xᵀ
    kernels.row_sums(layer.gradient, layer.dBias, layer.rows, n);
    if (below) kernels.product(layer.weight, 1, layer.columns, layer.gradient, 0, below, layer.columns, layer.rows, n); // dx = Wᵀ dy
  }
}

// --- the model ---

// pixels-hidden-latents-hidden-pixels. `sigma` belongs to the likelihood "normal": a number, or "learned" from `start` on. `batch`: images at a time, at most.
function makeVae(kernels, { pixels, latents, hidden, activation, likelihood, sigma, start = 0.3, batch }) {
  const { take, view } = makeRoom(kernels), widths = [pixels, ...hidden];
  // Everything that is learned lies in one stretch, its gradient and Adam's two averages in three others of the same length.
  const counts = (sizes) => sizes.slice(1).map((rows, i) => ((rows * sizes[i] + 3) & ~3) + ((rows + 3) & ~3)).reduce((a, b) => a + b);
  const encoderSizes = [...widths, 2 * latents], decoderSizes = [latents, ...hidden.toReversed(), pixels];
  const total = counts(encoderSizes) + counts(decoderSizes) + 4;
  const [weights, gradients, means, squares] = [0, 0, 0, 0].map(() => take(total));
  let used = 0;
  const own = (size) => {
    const offset = 4 * used;
    used += (size + 3) & ~3;
    return [weights + offset, gradients + offset];
  };
  const encoder = makeChain(encoderSizes, activation, batch, take, own);
  const decoder = makeChain(decoderSizes, activation, batch, take, own);
  const [logSigma, dLogSigma] = own(1), learned = likelihood === "normal" && sigma === "learned";
  view(logSigma, 1)[0] = Math.log(learned ? start : (sigma ?? 1));
  const [rows, x, z, dz] = [pixels, pixels, latents, latents].map((size) => take(size * batch));
  const [head, tail] = [encoder.at(-1), decoder.at(-1)];
  let steps = 0;

  // Images are rows of numbers in [0, 1]; in memory they are columns.
  function putImages(images) {
    const n = images.length / pixels;
    view(rows, images.length).set(images);
    kernels.transpose(rows, x, n, pixels);
    return n;
  }

  // z = mu + σ ε for every latent and image; returns the KL from q(z|x) to N(0, I), summed over all of them.
  function drawLatents(noise, n, { half, noise: factor, shared }) {
    const h = view(head.out, 2 * latents * n), drawn = view(z, latents * n);
    let kl = 0;
    for (let i = 0; i < drawn.length; i++) {
      const mu = h[i], logvar = h[drawn.length + i], epsilon = factor * noise[shared ? i - (i % n) : i];
      drawn[i] = mu + Math.exp(half * logvar) * epsilon;
      kl += 0.5 * (mu * mu + Math.expm1(logvar) - logvar);
    }
    return kl;
  }

  // -log p(x|z), summed over the batch. Leaves `scale` times its gradient in the decoder's last layer.
  function scoreImages(n, scale) {
    const size = pixels * n;
    if (likelihood === "bernoulli") return kernels.bernoulli(tail.out, x, tail.gradient, size, scale);
    const log = view(logSigma, 1)[0], squares = kernels.normal(tail.out, x, tail.gradient, size, Math.exp(log), scale);
    if (learned) view(dLogSigma, 1)[0] = scale * (size - squares);
    return squares / 2 + size * (log + Math.log(2 * Math.PI) / 2);
  }

  // From the gradient by z to that by the encoder's output: through the draw, and from the KL, whose weight is `weight`.
  function backThroughDraw(noise, n, { half, noise: factor, shared }, weight) {
    const h = view(head.out, 2 * latents * n), g = view(head.gradient, h.length), up = view(dz, latents * n);
    for (let i = 0; i < up.length; i++) {
      const mu = h[i], logvar = h[up.length + i], epsilon = factor * noise[shared ? i - (i % n) : i];
      g[i] = up[i] + weight * mu;
      g[up.length + i] = up[i] * epsilon * half * Math.exp(half * logvar) + (weight / 2) * Math.expm1(logvar);
    }
  }

  // Forwards: what is minimised, and its two terms, in nats per image. `noise` has a row for each latent, a column for each image.
  function loss(images, noise, { beta = 1, bug = "none" } = {}) {
    const parts = { ...HEALTHY, ...bugs(latents, pixels)[bug] }, n = putImages(images);
    forward(kernels, encoder, x, n);
    const kl = drawLatents(noise, n, parts) / n;
    forward(kernels, decoder, z, n);
    const recon = scoreImages(n, parts.recon / n) / n;
    return { loss: parts.recon * recon + beta * parts.kl * kl, recon, kl, n, parts };
  }

  function gradient(images, noise, settings) {
    const terms = loss(images, noise, settings), { n, parts } = terms;
    backward(kernels, decoder, n, dz);
    backThroughDraw(noise, n, parts, ((settings.beta ?? 1) * parts.kl) / n);
    backward(kernels, encoder, n, 0);
    return terms;
  }

  // One step of Adam.
  function step(images, noise, settings) {
    const terms = gradient(images, noise, settings);
    steps++;
    kernels.adam(weights, gradients, means, squares, total, settings.rate / (1 - 0.9 ** steps), 1 / Math.sqrt(1 - 0.999 ** steps));
    return terms;
  }

  // Means and log-variances of q(z|x): a row for each latent, a column for each image.
  function encode(images) {
    const n = putImages(images), h = view(forward(kernels, encoder, x, n), 2 * latents * n);
    return { mu: h.slice(0, latents * n), logvar: h.slice(latents * n) };
  }

  // The means of p(x|z): rows of pixels, one for each column of `codes`.
  function decode(codes) {
    const n = codes.length / latents;
    view(z, codes.length).set(codes);
    const out = forward(kernels, decoder, z, n);
    kernels.sigmoid(out, pixels * n);
    kernels.transpose(out, tail.gradient, pixels, n);
    return view(tail.gradient, pixels * n).slice();
  }

  // [name, values] of everything that is learned, as PyTorch orders it.
  const parameters = (which = "weight") => [encoder, decoder].flatMap((chain) => chain.flatMap((layer) => (which === "weight"
    ? [view(layer.weight, layer.rows * layer.columns), view(layer.bias, layer.rows)]
    : [view(layer.dWeight, layer.rows * layer.columns), view(layer.dBias, layer.rows)]))).concat(learned ? [view(which === "weight" ? logSigma : dLogSigma, 1)] : []);

  return { loss, gradient, step, encode, decode, parameters, encoder, decoder, view, sigma: () => Math.exp(view(logSigma, 1)[0]), latents, pixels, batch };
}

// --- chance, and where training starts ---

// The same numbers for the same seed: uniform ones by sfc32, normal ones by Box and Muller.
function makeRandom(seed) {
  let a = 0x9e3779b9, b = 0x243f6a88, c = seed | 0, count = 1, spare = null;
  const uniform = () => {
    const t = (((a + b) | 0) + count++) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + t) | 0;
    return (t >>> 0) / 4294967296;
  };
  const normal = () => {
    if (spare !== null) {
      const kept = spare;
      spare = null;
      return kept;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform())), angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
  for (let i = 0; i < 20; i++) uniform(); // seeds that are close to each other part here
  return { uniform, normal, below: (n) => Math.floor(n * uniform()) };
}

// As mlp_vae starts: He's normal numbers in hidden layers, PyTorch's smaller uniform ones in the last, and the mean image as the output's bias.
function startVae(vae, random, meanImage) {
  for (const { weight, bias, rows, columns, hidden } of [...vae.encoder, ...vae.decoder]) {
    const draw = hidden ? () => Math.sqrt(2 / columns) * random.normal() : () => (2 * random.uniform() - 1) / Math.sqrt(columns);
    vae.view(weight, rows * columns).forEach((_, i, all) => (all[i] = draw()));
    if (!hidden) vae.view(bias, rows).forEach((_, i, all) => (all[i] = draw()));
  }
  vae.view(vae.decoder.at(-1).bias, vae.pixels).set(meanImage.map((mean) => Math.log(clampUnit(mean) / (1 - clampUnit(mean)))));
}

const clampUnit = (value) => Math.min(0.999, Math.max(0.001, value));
