// ReconstructionExplorer: pick a picture or draw one; the encoder says where it lies, the decoder what is left of it.

// What an encoder's numbers mean: the mean and standard deviation of every latent; of a categorical, its probabilities.
function readPosterior(numbers, { gaussian, categorical, variational }) {
  if (!variational) return { mu: [...numbers], sigma: numbers.length ? Array(numbers.length).fill(0) : [] };
  const mu = [...numbers.slice(0, gaussian)], sigma = [...numbers.slice(gaussian, 2 * gaussian)].map((logvar) => Math.exp(logvar / 2));
  let start = 2 * gaussian;
  for (const size of categorical) {
    const logits = [...numbers.slice(start, start + size)], most = Math.max(...logits), weights = logits.map((v) => Math.exp(v - most));
    const total = weights.reduce((a, b) => a + b, 0);
    mu.push(...weights.map((weight) => weight / total));
    sigma.push(...Array(size).fill(0));
    start += size;
  }
  return { mu, sigma };
}

// A draw from q(z|x): Gaussian numbers, and one category of each categorical.
function drawFromPosterior(mu, sigma, posterior) {
  const z = mu.map((mean, i) => mean + sigma[i] * gaussian());
  let start = posterior.gaussian;
  for (const size of posterior.categorical) {
    let left = Math.random(), chosen = 0;
    while (chosen < size - 1 && (left -= mu[start + chosen]) > 0) chosen++;
    for (let i = 0; i < size; i++) z[start + i] = Number(i === chosen);
    start += size;
  }
  return z;
}

// A picture's pixels, channel by channel, from 0 to 1.
function pixelsOf(context, [channels, height, width]) {
  const { data } = context.getImageData(0, 0, width, height), size = width * height;
  return Float32Array.from({ length: channels * size }, (_, i) => data[4 * (i % size) + Math.floor(i / size)] / 255);
}

// A drawing as MNIST's digits are: its longer side 20/28 of the frame, its centre of mass in the middle, and none of it cut off.
function centred(drawing, [, height, width]) {
  const { data } = drawing.getContext("2d").getImageData(0, 0, drawing.width, drawing.height);
  let mass = 0, x = 0, y = 0, box = [Infinity, Infinity, -1, -1];
  for (let i = 0; i < data.length / 4; i++) {
    const ink = data[4 * i], [column, row] = [i % drawing.width, Math.floor(i / drawing.width)];
    if (!ink) continue;
    [mass, x, y] = [mass + ink, x + ink * column, y + ink * row];
    box = [Math.min(box[0], column), Math.min(box[1], row), Math.max(box[2], column), Math.max(box[3], row)];
  }
  const small = make("canvas", { width, height }), context = small.getContext("2d");
  context.fillRect(0, 0, width, height);
  if (mass) {
    const scale = ((20 / 28) * Math.min(width, height)) / Math.max(box[2] - box[0] + 1, box[3] - box[1] + 1);
    context.imageSmoothingQuality = "high";
    const shift = (frame, middle, low, high) => clamp(frame / 2 - scale * middle, -scale * low, frame - scale * (high + 1));
    context.setTransform(scale, 0, 0, scale, shift(width, x / mass, box[0], box[2]), shift(height, y / mass, box[1], box[3]));
    context.drawImage(drawing, 0, 0);
  }
  return context;
}

// A black field to draw on in white, with a mouse, a pen or a finger.
function makeDrawing(changed) {
  const canvas = make("canvas", { width: 280, height: 280, className: "drawing", ariaLabel: "Draw here with a mouse, a pen or a finger" });
  canvas.setAttribute("role", "img");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const clear = () => context.fillRect(0, 0, 280, 280);
  clear();
  const at = (event) => { const box = canvas.getBoundingClientRect(); return [((event.clientX - box.left) / box.width) * 280, ((event.clientY - box.top) / box.height) * 280]; };
  let last = null;
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); last = at(event); });
  canvas.addEventListener("pointermove", (event) => {
    if (!last) return;
    const next = at(event);
    Object.assign(context, { strokeStyle: "#fff", lineWidth: 22, lineCap: "round" });
    context.beginPath();
    context.moveTo(...last);
    context.lineTo(...next);
    context.stroke();
    last = next;
    changed();
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (last = null));
  return { canvas, clear };
}

// A slider whose track is shaded where the encoder puts the latent: one standard deviation to both sides of the mean.
function posteriorSlider(model, put, { index, label }) {
  const reach = model.get("reach");
  const row = slider({
    label, min: -reach, max: reach, step: 0.01, get: () => model.get("z")[index], set: (value) => put({ z: model.get("z").map((old, i) => (i === index ? value : old)) }),
    said: (value) => `${written(value)}; the encoder says ${written(model.get("mu")[index])} plus or minus ${written(model.get("sigma")[index])}`,
  });
  const place = (value) => clamp(0.5 + value / (2 * reach), 0, 1);
  const refresh = () => {
    const mu = model.get("mu")[index], sigma = model.get("sigma")[index];
    row.refresh();
    track.style.setProperty("--low", place(mu - sigma));
    track.style.setProperty("--high", place(mu + sigma));
  };
  const [name, input, value] = row.row, track = make("span", { className: "spread" }, input); // a slider itself shows no background
  return { row: [name, track, value], refresh };
}

function render({ model, el, signal }) {
  const { root, message, say } = makeRoot(model, el), put = setter(model), shape = model.get("shape");
  const input = makePicture({ poster: model.get("choices")[model.get("chosen")] ?? model.get("choices")[0], alt: "The picture that is encoded", shape, className: "picture small" });
  const output = makePicture({ poster: model.get("poster"), alt: model.get("alt"), shape, className: "picture small" });
  const rows = [...categoryPickers(model, put), ...model.get("latents").map((latent) => posteriorSlider(model, put, latent))];
  const networks = () => Promise.all([loadNetwork(model.get("encoder"), model), loadNetwork(model.get("decoder"), model)]);
  const guarded = (work) => async () => {
    try {
      const running = await networks();
      say("");
      await work(...running);
    } catch (error) {
      say(sentenceOf(error));
    }
  };

  // What is encoded: one of the pictures, or the drawing.
  const thumbnails = model.get("choices").map((src, i) => {
    const choice = make("button", { type: "button", className: "choice", ariaLabel: `picture ${i + 1}` }, make("img", { src, alt: "", className: "dark-light" }));
    choice.addEventListener("click", () => put({ chosen: i }));
    return choice;
  });
  const drawing = model.get("can_draw") ? makeDrawing(() => { put({ chosen: -1 }); encode(); }) : null;
  const current = async () => {
    const chosen = model.get("chosen");
    if (chosen < 0 && drawing) return pixelsOf(centred(drawing.canvas, shape), shape);
    const image = thumbnails[chosen].firstChild, context = make("canvas", { height: shape[1], width: shape[2] }).getContext("2d");
    await image.decode();
    context.drawImage(image, 0, 0);
    return pixelsOf(context, shape);
  };
  const encode = newestOnly(guarded(async (runEncoder) => {
    const x = await current(), { mu, sigma } = readPosterior(runEncoder(x), model.get("posterior"));
    input.paint(x);
    put({ mu, sigma, z: mu });
  }));
  const decode = newestOnly(guarded(async (_, runDecoder) => {
    output.paint(runDecoder(model.get("z")));
    output.canvas.ariaLabel = "The picture decoded from the latent";
  }));

  const again = () => put({ z: [...model.get("mu")] });
  const draws = () => put({ z: drawFromPosterior(model.get("mu"), model.get("sigma"), model.get("posterior")) });
  const figure = (picture, text) => make("figure", {}, ...picture.elements, make("figcaption", { textContent: text }));
  root.append(make("div", { className: "strip" }, ...thumbnails),
    make("div", { className: "side-by-side" },
      ...(drawing ? [make("figure", {}, drawing.canvas, make("figcaption", {}, "draw a picture ", button("Clear", () => { drawing.clear(); put({ chosen: -1 }); encode(); })))] : []),
      figure(input, "what is encoded"), figure(output, "what is decoded"),
      make("div", { className: "panel" }, make("div", { className: "controls" }, ...rows.flatMap(({ row }) => row)),
        make("div", { className: "buttons" }, button("Encoder's mean", again), button("Draw z from q", draws)),
        make("p", { textContent: "Shaded: one standard deviation of q(z|x) to both sides of its mean." }))), message);

  const refresh = () => {
    rows.forEach((row) => row.refresh());
    thumbnails.forEach((choice, i) => (choice.ariaPressed = String(i === model.get("chosen"))));
  };
  refresh();
  whenTouched(root, () => networks().catch((error) => say(sentenceOf(error))));
  const leaves = [listenWhileShown(model, "change:z", () => { refresh(); decode(); }, signal), listenWhileShown(model, "change:mu change:sigma", refresh, signal),
    listenWhileShown(model, "change:chosen", () => { refresh(); encode(); }, signal)];
  return () => leaves.forEach((leave) => leave());
}

export default { render };
