// Networks on one core of a browser: layers take a tensor {data: Float32Array, shape} and give another.
// Sums are taken in double precision and rounded to float32 after each layer.
"use strict";
const Kernel = (() => {
  // out[p][m] = bias[m] + sum_k patches[p][k] * weight[m][k], written as out[m * pixels + p]; four outputs at a time
  function multiply(weight, bias, patches, out, outputs, pixels, inputs) {
    let m = 0;
    for (; m + 4 <= outputs; m += 4) {
      const w0 = m * inputs, w1 = w0 + inputs, w2 = w1 + inputs, w3 = w2 + inputs;
      let p = 0;
      for (; p + 2 <= pixels; p += 2) {
        const first = p * inputs, second = first + inputs;
        let a = bias[m], b = bias[m + 1], c = bias[m + 2], d = bias[m + 3];
        let e = a, f = b, g = c, h = d;
        for (let k = 0; k < inputs; k++) {
          const x = patches[first + k], y = patches[second + k];
          const u = weight[w0 + k], v = weight[w1 + k], w = weight[w2 + k], z = weight[w3 + k];
          a += u * x; b += v * x; c += w * x; d += z * x;
          e += u * y; f += v * y; g += w * y; h += z * y;
        }
        const to = m * pixels + p;
        out[to] = a; out[to + pixels] = b; out[to + 2 * pixels] = c; out[to + 3 * pixels] = d;
        out[to + 1] = e; out[to + 1 + pixels] = f; out[to + 1 + 2 * pixels] = g; out[to + 1 + 3 * pixels] = h;
      }
      for (; p < pixels; p++) {
        const first = p * inputs;
        let a = bias[m], b = bias[m + 1], c = bias[m + 2], d = bias[m + 3];
        for (let k = 0; k < inputs; k++) {
          const x = patches[first + k];
          a += weight[w0 + k] * x; b += weight[w1 + k] * x; c += weight[w2 + k] * x; d += weight[w3 + k] * x;
        }
        const to = m * pixels + p;
        out[to] = a; out[to + pixels] = b; out[to + 2 * pixels] = c; out[to + 3 * pixels] = d;
      }
    }
    for (; m < outputs; m++) {
      for (let p = 0; p < pixels; p++) {
        let a = bias[m];
        for (let k = 0; k < inputs; k++) a += weight[m * inputs + k] * patches[p * inputs + k];
        out[m * pixels + p] = a;
      }
    }
  }

  // a layer keeps what it wrote last: no memory is taken while somebody moves a slider
  function room(layer, name, size) {
    if (!layer[name] || layer[name].length !== size) layer[name] = new Float32Array(size);
    return layer[name];
  }

  function each(layer, input, change) {
    const out = room(layer, "out", input.data.length);
    for (let i = 0; i < out.length; i++) out[i] = change(input.data[i], i);
    return {data: out, shape: input.shape};
  }

  const sigmoid = (x) => 1 / (1 + Math.exp(-x));

  const LAYERS = {
    conv(layer, {data, shape: [channels, height, width]}) {
      const [outputs, , rows, columns] = layer.weight.shape;
      const {stride, padding} = layer;
      const high = Math.floor((height + 2 * padding - rows) / stride) + 1;
      const wide = Math.floor((width + 2 * padding - columns) / stride) + 1;
      const inputs = channels * rows * columns;
      const patches = room(layer, "patches", high * wide * inputs);
      let at = 0;
      for (let i = 0; i < high; i++) {
        for (let j = 0; j < wide; j++) {
          for (let c = 0; c < channels; c++) {
            for (let y = i * stride - padding, ends = y + rows; y < ends; y++) {
              const row = (c * height + y) * width;
              const inside = y >= 0 && y < height;
              for (let x = j * stride - padding, end = x + columns; x < end; x++) {
                patches[at++] = inside && x >= 0 && x < width ? data[row + x] : 0;
              }
            }
          }
        }
      }
      const out = room(layer, "out", outputs * high * wide);
      multiply(layer.weight.data, layer.bias.data, patches, out, outputs, high * wide, inputs);
      return {data: out, shape: [outputs, high, wide]};
    },

    linear(layer, {data}) {
      const [outputs, inputs] = layer.weight.shape;
      const out = room(layer, "out", outputs);
      multiply(layer.weight.data, layer.bias.data, data, out, outputs, 1, inputs);
      return {data: out, shape: [outputs]};
    },

    // (r * r * C, H, W) -> (C, r * H, r * W), of which `crop` pixels are cut off all around
    pixel_shuffle(layer, {data, shape: [planes, height, width]}) {
      const {factor, crop} = layer;
      const channels = planes / factor ** 2;
      const high = factor * height - 2 * crop, wide = factor * width - 2 * crop;
      const out = room(layer, "out", channels * high * wide);
      for (let c = 0, at = 0; c < channels; c++) {
        for (let y = crop; y < high + crop; y++) {
          for (let x = crop; x < wide + crop; x++) {
            const plane = (c * factor + (y % factor)) * factor + (x % factor);
            out[at++] = data[(plane * height + Math.floor(y / factor)) * width + Math.floor(x / factor)];
          }
        }
      }
      return {data: out, shape: [channels, high, wide]};
    },

    reshape: (layer, {data}) => ({data, shape: layer.shape}),
    relu: (layer, input) => each(layer, input, (x) => (x > 0 ? x : 0)),
    leaky_relu: (layer, input) => each(layer, input, (x) => (x > 0 ? x : layer.slope * x)),
    elu: (layer, input) => each(layer, input, (x) => (x > 0 ? x : layer.alpha * Math.expm1(x))),
    silu: (layer, input) => each(layer, input, (x) => x * sigmoid(x)),
    tanh: (layer, input) => each(layer, input, Math.tanh),
    sigmoid: (layer, input) => each(layer, input, sigmoid),
    add: (layer, input) => each(layer, input, (x, i) => x + layer.values.data[i]),
    standardise: (layer, input) => each(layer, input, (x, i) => (x - layer.mean.data[i]) / layer.scale),
    affine: (layer, input) => each(layer, input, (x, i) => x * layer.factor.data[i] + layer.shift.data[i]),
    clamp: (layer, input) => each(layer, input, (x) => Math.min(Math.max(x, layer.low), layer.high)),

    // what follows turns the numbers of an encoder's last layer into the code
    first(layer, {data}) {
      return {data: data.subarray(0, layer.count), shape: [layer.count]};
    },
    soft_threshold(layer, input) {
      const bounds = layer.threshold.data;
      return each(layer, input, (x, i) => x - Math.max(Math.min(x, bounds[i]), -bounds[i]));
    },
    threshold: (layer, input) => each(layer, input, (x, i) => (x > layer.threshold.data[i] ? x : 0)),
    // of equal ones those of lower number come first; `binary`: 1 in place of each
    largest(layer, input) {
      const order = Array.from(input.data.keys()).sort((a, b) => input.data[b] - input.data[a] || a - b);
      const kept = new Set(order.slice(0, layer.count));
      return each(layer, input, (x, i) => (kept.has(i) ? (layer.binary ? 1 : x) : 0));
    },
    spike_and_slab(layer, {data}) {
      const units = data.length / 3, out = room(layer, "out", units);
      for (let i = 0; i < units; i++) out[i] = sigmoid(data[2 * units + i]) * data[i];
      return {data: out, shape: [units]};
    },
    ease(layer, {data}) {
      const units = data.length / 2, out = room(layer, "out", units);
      for (let i = 0; i < units; i++) out[i] = -Math.expm1(0.5 * Math.min(data[units + i] - layer.open, 0)) * data[i];
      return {data: out, shape: [units]};
    },
    quantise(layer, input) {
      const values = layer.codebook.data, count = layer.codebook.shape[1];
      return each(layer, input, (x, i) => {
        let best = i * count;
        for (let v = best + 1; v < (i + 1) * count; v++) {
          if (Math.fround(Math.abs(x - values[v])) < Math.fround(Math.abs(x - values[best]))) best = v;
        }
        return values[best];
      });
    },

    // K heat maps and F further ones (K + F, G, G) -> (m x, m y, m, m looks) of K keypoints
    keypoints(layer, {data, shape: [maps, grid]}) {
      const count = layer.bias.data.length, looks = maps - count, cells = grid * grid, centres = layer.centres.data;
      const out = room(layer, "out", (3 + looks) * count);
      for (let k = 0; k < count; k++) {
        let largest = -Infinity, total = 0, x = 0, y = 0, heat = 0;
        for (let i = k * cells; i < (k + 1) * cells; i++) largest = Math.max(largest, data[i]);
        for (let row = 0, i = k * cells; row < grid; row++) {
          for (let column = 0; column < grid; column++, i++) {
            const share = Math.exp(data[i] - largest);
            total += share; x += share * centres[column]; y += share * centres[row]; heat += share * data[i];
          }
        }
        const presence = sigmoid(heat / total + layer.bias.data[k]);
        out[k] = presence * x / total; out[count + k] = presence * y / total; out[2 * count + k] = presence;
        for (let f = 0; f < looks; f++) {
          let seen = 0;
          for (let i = 0; i < cells; i++) seen += Math.exp(data[k * cells + i] - largest) * data[(count + f) * cells + i];
          out[(3 + f) * count + k] = presence * seen / total;
        }
      }
      return {data: out, shape: [(3 + looks) * count]};
    },
    // (m x, m y, m, m looks) -> blobs (K, G, G), and how all of them look (F, G, G)
    blobs(layer, {data}) {
      const centres = layer.centres.data, grid = centres.length, looks = layer.looks, count = data.length / (3 + looks);
      const cells = grid * grid, sharpness = (grid / 2) ** 2 / 2, out = room(layer, "out", (count + looks) * cells);
      for (let k = 0, at = 0; k < count; k++) {
        const presence = data[2 * count + k], divisor = Math.max(presence, layer.absent);
        const x = data[k] / divisor, y = data[count + k] / divisor;
        for (let row = 0; row < grid; row++) {
          const down = presence * Math.exp(-sharpness * (centres[row] - y) ** 2);
          for (let column = 0; column < grid; column++) {
            out[at++] = down * Math.exp(-sharpness * (centres[column] - x) ** 2);
          }
        }
      }
      out.fill(0, count * cells);
      for (let f = 0; f < looks; f++) {
        for (let k = 0; k < count; k++) {
          const seen = data[(3 + f) * count + k] / Math.max(data[2 * count + k], layer.absent);
          for (let i = 0; i < cells; i++) out[(count + f) * cells + i] += seen * out[k * cells + i];
        }
      }
      return {data: out, shape: [count + looks, grid, grid]};
    },
  };

  // what the last layer wrote is overwritten by the next run: copy what is to stay
  function run(layers, input) {
    return layers.reduce((tensor, layer) => LAYERS[layer.op](layer, tensor), input);
  }

  // bytes (C, H, W) of an image -> what the network takes, as the encoder's preprocessing makes it
  function prepare(contract, bytes, height, width) {
    const channels = contract.channels, [high, wide] = contract.network_size;
    const scaled = Float32Array.from(bytes, (value) => value / 255);
    if (contract.takes_network_size && height === high && width === wide) return {data: scaled, shape: [channels, high, wide]};
    const [top, left, rows, columns] = contract.crop;
    const out = new Float32Array(channels * high * wide), across = new Float32Array(rows * wide);
    const down = contract.rows.data, along = contract.columns.data;
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < rows; y++) {
        const from = (c * height + top + y) * width + left;
        for (let j = 0; j < wide; j++) {
          let sum = 0;
          for (let x = 0; x < columns; x++) sum += along[j * columns + x] * scaled[from + x];
          across[y * wide + j] = sum;
        }
      }
      for (let i = 0; i < high; i++) {
        for (let j = 0; j < wide; j++) {
          let sum = 0;
          for (let y = 0; y < rows; y++) sum += down[i * rows + y] * across[y * wide + j];
          out[(c * high + i) * wide + j] = contract.clamped ? Math.min(Math.max(sum, 0), 1) : sum;
        }
      }
    }
    return {data: out, shape: [channels, high, wide]};
  }

  return {run, prepare, layers: Object.keys(LAYERS)};
})();
if (typeof module !== "undefined") module.exports = Kernel;
