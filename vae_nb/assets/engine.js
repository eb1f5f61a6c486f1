// Runs an exported network in the page. The matrix products are WebAssembly (kernels.c); everything else is here.
//
// A network is { inputs, bytes, crc, layers }: what the exporter of vae_nb.explore wrote. Each layer names its operation and the
// shape of what comes out; its weights lie at byte offsets of one file. Concatenated after `const KERNELS = "…"`, the compiled kernels, and weights.js.

const product = (numbers) => numbers.reduce((a, b) => a * b, 1);

// --- numbers ---

// The value of every half-precision pattern; made at the first use.
let halves;
function halfValues() {
  if (halves) return halves;
  halves = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    halves[bits] = sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
  }
  return halves;
}

// Abramowitz & Stegun 7.1.26: wrong by at most 1.5e-7.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))) * Math.exp(-x * x);
  return x < 0 ? tail - 1 : 1 - tail;
}

const sigmoid = (v) => 1 / (1 + Math.exp(-v));

// What happens to every number on its own. `slope` is the layer's own setting.
const POINTWISE = {
  relu: (v) => (v > 0 ? v : 0),
  leaky_relu: (v, { slope }) => (v > 0 ? v : slope * v),
  elu: (v, { slope }) => (v > 0 ? v : slope * Math.expm1(v)),
  silu: (v) => v / (1 + Math.exp(-v)),
  gelu: (v) => 0.5 * v * (1 + erf(v * Math.SQRT1_2)),
  gelu_tanh: (v) => 0.5 * v * (1 + Math.tanh(0.7978845608028654 * (v + 0.044715 * v ** 3))),
  tanh: Math.tanh,
  sigmoid,
  // the mean of the continuous Bernoulli with this logit
  continuous_bernoulli: (v) => (Math.abs(v) < 0.1 ? 0.5 + v / 12 - v ** 3 / 720 : 0.5 + 0.5 / Math.tanh(v / 2) - 1 / v),
};

// --- layers ---

// Each takes the run's numbers F, the layer, and where its input and output begin; all places are counted in floats.
const LAYERS = {
  linear(run, layer, from, to) {
    run.kernels.matvec(4 * layer.weight, 4 * from, 4 * layer.bias, 4 * to, layer.rows, layer.columns);
  },
  conv(run, layer, from, to) {
    const [channels, H, W] = layer.from, [, h, w] = layer.shape;
    run.kernels.gather_patches(4 * from, 4 * run.patches, channels, layer.kernel, layer.stride, layer.padding, H, W, h, w);
    run.kernels.matmul(4 * layer.weight, 4 * run.patches, 4 * layer.bias, 4 * to, layer.rows, layer.columns, h * w);
  },
  transposed(run, layer, from, to) {
    const [, h, w] = layer.from, [channels, H, W] = layer.shape;
    run.kernels.matmul(4 * layer.weight, 4 * from, 0, 4 * run.patches, layer.rows, layer.columns, h * w);
    run.kernels.scatter_patches(4 * run.patches, 4 * layer.bias, 4 * to, channels, layer.kernel, layer.stride, layer.padding, h, w, H, W);
  },
  upsample({ F }, layer, from, to) {
    const [, h, w] = layer.from, [channels, H, W] = layer.shape;
    for (let c = 0; c < channels; c++)
      for (let y = 0; y < H; y++)
        for (let x = 0; x < W; x++) F[to++] = F[from + (c * h + Math.floor((y * h) / H)) * w + Math.floor((x * w) / W)];
  },
  max_pool({ F }, layer, from, to) {
    const [, h, w] = layer.from, [channels, H, W] = layer.shape, { kernel, stride } = layer;
    for (let c = 0; c < channels; c++)
      for (let y = 0; y < H; y++)
        for (let x = 0; x < W; x++) {
          let most = -Infinity;
          for (let ky = 0; ky < kernel; ky++)
            for (let kx = 0; kx < kernel; kx++) most = Math.max(most, F[from + (c * h + y * stride + ky) * w + x * stride + kx]);
          F[to++] = most;
        }
  },
};

// The same, where the output takes the input's place.
const IN_PLACE = {
  // scale and shift of every channel: a batch normalisation that no convolution could take over
  affine({ F }, layer, at) {
    const size = product(layer.shape) / layer.rows;
    for (let c = 0; c < layer.rows; c++)
      for (let i = 0; i < size; i++, at++) F[at] = F[at] * F[layer.weight + c] + F[layer.bias + c];
  },
  group_norm({ F }, layer, at) {
    const size = product(layer.shape) / layer.rows, each = layer.rows / layer.groups;
    for (let c = 0; c < layer.rows; c += each, at += each * size) {
      let mean = 0, variance = 0;
      for (let i = 0; i < each * size; i++) mean += F[at + i] / (each * size);
      for (let i = 0; i < each * size; i++) variance += (F[at + i] - mean) ** 2 / (each * size);
      const scale = 1 / Math.sqrt(variance + layer.eps);
      for (let i = 0; i < each * size; i++) {
        const channel = c + Math.floor(i / size);
        F[at + i] = (F[at + i] - mean) * scale * F[layer.weight + channel] + F[layer.bias + channel];
      }
    }
  },
  reshape() {},
};

// --- a network ---

async function startKernels() {
  if (typeof WebAssembly === "undefined")
    throw new NetworkError("WebAssembly is switched off in this browser, so the picture cannot follow.");
  try {
    return (await WebAssembly.instantiate(bytesOf(KERNELS))).instance.exports;
  } catch (error) {
    throw new NetworkError(`This browser cannot run the network (${error.message}), so the picture cannot follow.`);
  }
}

// Where everything lies in the kernels' memory, in floats; every place is a multiple of four.
function layOut(network, start) {
  let end = start;
  const take = (size) => [end, (end += (size + 3) & ~3)][0];
  const sizes = [network.inputs, ...network.layers.map((layer) => layer.shape)].map(product);
  const layers = network.layers.map((layer, i) => ({ ...layer, from: i ? network.layers[i - 1].shape : network.inputs }));
  for (const layer of layers)
    if (layer.parts) [layer.weight, layer.bias] = [take(layer.rows * (layer.columns ?? 1)), take(layer.parts[1].size)];
  const patches = layers.map(({ op, from, shape, rows, columns }) => (op === "conv" ? columns * product(shape.slice(1)) : op === "transposed" ? rows * product(from.slice(1)) : 0));
  return { layers, buffers: [take(Math.max(...sizes)), take(Math.max(...sizes))], patches: take(Math.max(...patches)), end };
}

function unpack(F, at, { offset, size, half }, bytes) {
  if (half) {
    const values = halfValues(), bits = new Uint16Array(bytes.buffer, bytes.byteOffset + offset, size);
    for (let i = 0; i < size; i++) F[at + i] = values[bits[i]];
  } else F.set(new Float32Array(bytes.buffer, bytes.byteOffset + offset, size), at);
}

// A function from the network's input (an array of numbers) to its output, a Float32Array of its own.
async function makeNetwork(network, bytes) {
  checkWeights(network, bytes);
  const kernels = await startKernels();
  const plan = layOut(network, (kernels.heap() + 15) >> 4 << 2);
  kernels.memory.grow(Math.max(0, Math.ceil((4 * plan.end - kernels.memory.buffer.byteLength) / 65536)));
  const run = { kernels, F: new Float32Array(kernels.memory.buffer), patches: plan.patches };
  for (const layer of plan.layers) if (layer.parts) [layer.weight, layer.bias].forEach((at, i) => unpack(run.F, at, layer.parts[i], bytes));
  return (input) => {
    let [at, other] = plan.buffers;
    run.F.set(input, at);
    for (const layer of plan.layers) {
      const pointwise = POINTWISE[layer.op], size = product(layer.shape);
      if (pointwise) for (let i = at; i < at + size; i++) run.F[i] = pointwise(run.F[i], layer);
      else if (IN_PLACE[layer.op]) IN_PLACE[layer.op](run, layer, at);
      else {
        LAYERS[layer.op](run, layer, at, other);
        [at, other] = [other, at];
      }
    }
    return run.F.slice(at, at + product(plan.layers.at(-1).shape));
  };
}

// One running copy of a network per page, however many explorers show it. After a failure it can be tried again, but not sixty times a second.
function loadNetwork(network, model) {
  const running = (globalThis.vaeNbNetworks ??= new Map());
  if (!running.has(network.key)) {
    const started = findWeights(network.key, model).then((bytes) => makeNetwork(network, bytes));
    started.catch(() => setTimeout(() => running.delete(network.key), 2000));
    running.set(network.key, started);
  }
  return running.get(network.key);
}
