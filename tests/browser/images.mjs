// Generated image files for the tests.

import { crc32, deflateSync } from "node:zlib";

/** A PNG of 8 bits per channel; `value(i)` gives the i-th byte of the pixels. */
export function png(width, height, channels, value) {
  const rows = Buffer.alloc(height * (width * channels + 1));
  for (let y = 0, at = 0, i = 0; y < height; y++) {
    at++;
    for (let x = 0; x < width * channels; x++) rows[at++] = value(i++);
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, channels === 3 ? 2 : 0, 0, 0, 0], 8);
  const signature = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);
  return Buffer.concat([signature, part("IHDR", header), part("IDAT", deflateSync(rows, { level: 1 })), part("IEND", Buffer.alloc(0))]);
}

function part(kind, body) {
  const whole = Buffer.concat([Buffer.from(kind, "latin1"), body]);
  const out = Buffer.alloc(whole.length + 8);
  out.writeUInt32BE(body.length, 0);
  whole.copy(out, 4);
  out.writeUInt32BE(crc32(whole), whole.length + 4);
  return out;
}

/** A grey ramp that decodes like a radiograph. */
export const greyImage = () => png(256, 256, 1, (i) => (i * 7) % 256);
/** Pixels whose channels differ. */
export const colourPhoto = () => png(128, 128, 3, (i) => (i * 37) % 256);
/** 31.5 megapixels, grey in three channels: decoding takes longer than a worker is waited for. */
export const slowImage = () => png(7000, 4500, 3, (i) => (((i / 3) | 0) * 7) % 256);
/** 40 megapixels. */
export const hugeImage = () => png(8000, 5000, 1, () => 90);
