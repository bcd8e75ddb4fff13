// What the page carries: one compressed block of bytes, and a JSON text whose tensors say where in it they lie.
"use strict";
const Unpack = (() => {
  async function inflate(text) {
    const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  function tensor({at, shape, type}, block) {
    const count = shape.reduce((product, size) => product * size, 1);
    if (type === "float32") {
      // the four bytes of all numbers lie apart, the highest first: so they compress better
      const bytes = new Uint8Array(4 * count);
      for (let plane = 0; plane < 4; plane++) {
        for (let i = 0; i < count; i++) bytes[4 * i + 3 - plane] = block[at + plane * count + i];
      }
      return {data: new Float32Array(bytes.buffer), shape};
    }
    const data = block.slice(at, at + count);
    if (type === "differences") {
      // each image is what it adds to the one before, modulo 256
      const size = count / shape[0];
      for (let i = size; i < count; i++) data[i] += data[i - size];
    }
    return {data, shape};
  }

  // every object with `at`, `shape` and `type`, at any depth, becomes the tensor itself
  function restore(value, block) {
    if (value === null || typeof value !== "object") return value;
    if (Array.isArray(value)) return value.map((entry) => restore(entry, block));
    if ("at" in value && "shape" in value && "type" in value) return tensor(value, block);
    return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, restore(entry, block)]));
  }

  async function unpack(json, text) {
    return restore(JSON.parse(json), await inflate(text));
  }
  return {unpack};
})();
if (typeof module !== "undefined") module.exports = Unpack;
