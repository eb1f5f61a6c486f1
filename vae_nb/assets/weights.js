// Where an explorer's data come from: a file beside the page, the page itself, or a kernel; and whether they have arrived whole.

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

// CRC-32, the same as Python's zlib.crc32.
function crc32(bytes) {
  const table = Uint32Array.from({ length: 256 }, (_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
    return n;
  });
  let crc = -1;
  for (const byte of bytes) crc = table[(crc ^ byte) & 255] ^ (crc >>> 8);
  return (crc ^ -1) >>> 0;
}

class NetworkError extends Error {}
const AGAIN = "Reload the page to try again.";
const OTHER = `The file with this explorer's data belongs to another model or version, or is damaged. ${AGAIN}`;

// The weights as they were exported, or an error that says what is wrong with them.
function checkWeights(network, bytes) {
  if (bytes.length !== network.bytes)
    throw new NetworkError(`The file with this explorer's data has ${bytes.length} bytes instead of ${network.bytes}: it is damaged. ${AGAIN}`);
  if (crc32(bytes) !== network.crc) throw new NetworkError(OTHER);
}

// A page without a kernel: base64 from a script file beside the page. Scripts load over file:// too, which fetch does not.
function fromPage(key, root) {
  return new Promise((resolve, reject) => {
    const src = new URL(`${root}assets/explorers/${key}.js`, document.baseURI).href;
    const script = Object.assign(document.createElement("script"), { src });
    script.onerror = () => reject(new NetworkError(`The file with this explorer's data is missing: ${src}. ${AGAIN}`));
    script.onload = () => {
      const text = globalThis.vaeNbWeights?.[key];
      script.remove();
      text ? resolve(text) : reject(new NetworkError(OTHER));
    };
    document.head.append(script);
  });
}

// A notebook: the kernel sends them when asked, so that nothing is saved in the notebook.
function fromKernel(key, model) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new NetworkError("The kernel that holds this explorer's data does not answer. Run its cell again.")), 20000);
    const answer = (message, buffers) => {
      if (message.weights !== key) return;
      clearTimeout(timer);
      model.off("msg:custom", answer);
      const view = buffers[0].buffer ? buffers[0] : new DataView(buffers[0]);
      resolve(new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength)));
    };
    model.on("msg:custom", answer);
    model.send({ want: key });
  });
}

async function findWeights(key, model) {
  const root = document.documentElement.dataset.content_root; // Sphinx sets it: the way from the page to the site's root
  let text = globalThis.vaeNbWeights?.[key]; // a page of one file carries them
  if (!text && root === undefined) return fromKernel(key, model);
  text ??= await fromPage(key, root);
  try {
    return bytesOf(text);
  } catch {
    throw new NetworkError(OTHER); // not base64 any more
  }
}

