// Elements of the page, and pictures on canvases. A picture is {rgba, width, height}; tensors are (C, H, W) in 0..1.
"use strict";
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const Pictures = (() => {
  const BLUE = [0, 114, 178], ORANGE = [213, 94, 0];

  function ofBytes(bytes, channels, height, width, scale = 1) {
    const rgba = new Uint8ClampedArray(4 * height * width), plane = height * width;
    for (let i = 0; i < plane; i++) {
      for (let c = 0; c < 3; c++) rgba[4 * i + c] = bytes[(channels === 3 ? c : 0) * plane + i] * scale;
      rgba[4 * i + 3] = 255;
    }
    return {rgba, width, height};
  }
  const ofTensor = ({data, shape: [channels, height, width]}) => ofBytes(data, channels, height, width, 255);

  function show(canvas, {rgba, width, height}) {
    canvas.width = width;
    canvas.height = height;
    canvas.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
  }

  // orange where `made` is brighter than `image`, blue where it is darker; returns the mean of |difference|
  function showDifference(canvas, made, image) {
    const [channels, height, width] = made.shape, plane = height * width;
    const rgba = new Uint8ClampedArray(4 * plane);
    let total = 0;
    for (let i = 0; i < plane; i++) {
      let difference = 0;
      for (let c = 0; c < channels; c++) {
        const here = made.data[c * plane + i] - image.data[c * plane + i];
        difference += here / channels;
        total += Math.abs(here) / (channels * plane);
      }
      const colour = difference > 0 ? ORANGE : BLUE, strength = Math.min(1, Math.abs(difference));
      for (let c = 0; c < 3; c++) rgba[4 * i + c] = 255 + strength * (colour[c] - 255);
      rgba[4 * i + 3] = 255;
    }
    show(canvas, {rgba, width, height});
    return total;
  }

  async function read(file) {
    const bitmap = await createImageBitmap(file, {colorSpaceConversion: "none", premultiplyAlpha: "none"});
    return pixels(bitmap, 0, 0, bitmap.width, bitmap.height, bitmap.width, bitmap.height);
  }

  function pixels(drawn, left, top, across, down, width, height) {
    const context = new OffscreenCanvas(width, height).getContext("2d");
    context.imageSmoothingQuality = "high";
    context.fillStyle = "#fff"; // under what is transparent
    context.fillRect(0, 0, width, height);
    context.drawImage(drawn, left, top, across, down, 0, 0, width, height);
    return {rgba: context.getImageData(0, 0, width, height).data, width, height};
  }

  // a picture of another size than the encoder takes: its middle in the same proportions, made as large
  function fit(picture, [high, wide]) {
    const canvas = new OffscreenCanvas(picture.width, picture.height);
    show(canvas, picture);
    const scale = Math.min(picture.width / wide, picture.height / high);
    const across = wide * scale, down = high * scale;
    return pixels(canvas, (picture.width - across) / 2, (picture.height - down) / 2, across, down, wide, high);
  }

  // what the network of a run takes of a picture
  function prepare(contract, picture) {
    const sizes = contract.takes_network_size ? [contract.source_size, contract.network_size] : [contract.source_size];
    const fits = sizes.some(([high, wide]) => picture.height === high && picture.width === wide);
    const {rgba, width, height} = fits ? picture : fit(picture, contract.source_size);
    const plane = width * height, bytes = new Uint8Array(contract.channels * plane);
    for (let i = 0; i < plane; i++) {
      const [red, green, blue] = [rgba[4 * i], rgba[4 * i + 1], rgba[4 * i + 2]];
      if (contract.channels === 3) {
        bytes[i] = red; bytes[plane + i] = green; bytes[2 * plane + i] = blue;
      } else {
        bytes[i] = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16; // as Pillow makes grey
      }
    }
    return Kernel.prepare(contract, bytes, height, width);
  }

  return {ofBytes, ofTensor, show, showDifference, read, prepare};
})();
