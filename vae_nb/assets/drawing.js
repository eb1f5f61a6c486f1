// A field to draw a picture on, and the picture as a network wants it. Concatenated after ideas.js.

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
