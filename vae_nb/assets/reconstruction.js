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
