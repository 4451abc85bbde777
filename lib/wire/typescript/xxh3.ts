import { joinU64, readU32 } from './bytes.js';

/**
 * XXH3-64 with seed 0 and the default secret, after the public xxHash specification.
 *
 * No kept package gives XXH3-64 at once and without an addon: the ones in pure JavaScript have XXH64 or the 128-bit variant,
 * whose low half differs up to 240 bytes, and those in WebAssembly must be awaited, which would keep `require` from loading
 * this package. All arithmetic is in u32 halves: bigint would make an object for every step.
 */
const SECRET = Uint8Array.from(
  Buffer.from(
    'b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248e' +
      'e03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d' +
      '8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc' +
      '8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e',
    'hex',
  ),
);
/** The secret's u32 at every byte offset, since it is read unaligned. */
const SECRET_U32 = Uint32Array.from({ length: SECRET.length - 3 }, (_, at) => readU32(SECRET, at));

const PRIME32_1 = 0x9e3779b1;
const STRIPE = 64;
const BLOCK = 1024;
const LAST_STRIPE_SECRET = 121;
const SCRAMBLE_SECRET = 128;

/** The eight u64 that long inputs start with, as low and high halves. */
const INITIAL = Uint32Array.of(
  ...[0xc2b2ae3d, 0, 0x85ebca87, 0x9e3779b1, 0x27d4eb4f, 0xc2b2ae3d, 0x9e3779f9, 0x165667b1],
  ...[0xc2b2ae63, 0x85ebca77, 0x85ebca77, 0, 0x165667c5, 0x27d4eb2f, 0x9e3779b1, 0],
);
const lanes = new Uint32Array(16);

/** The running value and the result of the last operation, in halves. */
let low = 0;
let high = 0;

/** The upper half of a 32 × 32-bit product. */
function mulHigh(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  return (Math.imul(a1, b1) + (middle >>> 16) + (((middle & 0xffff) + a0 * b1) >>> 16)) >>> 0;
}

function add(l: number, h: number): void {
  const sum = low + l;
  low = sum >>> 0;
  high = (high + h + (sum > 0xffff_ffff ? 1 : 0)) >>> 0;
}

function multiply(l: number, h: number): void {
  high = (mulHigh(low, l) + Math.imul(low, h) + Math.imul(high, l)) >>> 0;
  low = Math.imul(low, l) >>> 0;
}

/** value ^= value >>> bits, for 0 < bits < 32. */
function shiftXorShort(bits: number): void {
  low = (low ^ ((low >>> bits) | (high << (32 - bits)))) >>> 0;
  high = (high ^ (high >>> bits)) >>> 0;
}

/** value ^= value >>> bits, for 32 <= bits < 64. */
function shiftXorLong(bits: number): void {
  low = (low ^ (high >>> (bits - 32))) >>> 0;
}

function avalanche(): void {
  shiftXorLong(37);
  multiply(0x9e3779f9, 0x16566791);
  shiftXorLong(32);
}

/** What XXH64 ends with; XXH3 uses it for the shortest inputs. */
function avalanche64(): void {
  shiftXorLong(33);
  multiply(0x27d4eb4f, 0xc2b2ae3d);
  shiftXorShort(29);
  multiply(0x9e3779f9, 0x165667b1);
  shiftXorLong(32);
}

/** Adds the two halves, xored, of the 128-bit product of two u64. */
function addFolded(al: number, ah: number, bl: number, bh: number): void {
  const word0 = Math.imul(al, bl);
  const cross = mulHigh(al, bl) + (Math.imul(al, bh) >>> 0) + (Math.imul(ah, bl) >>> 0);
  const upper = mulHigh(al, bh) + mulHigh(ah, bl) + (Math.imul(ah, bh) >>> 0) + Math.floor(cross / 0x1_0000_0000);
  const word3 = mulHigh(ah, bh) + Math.floor(upper / 0x1_0000_0000);
  add((word0 ^ upper) >>> 0, (cross ^ word3) >>> 0);
}

function addMixed16(bytes: Uint8Array, at: number, secret: number): void {
  addFolded(
    (readU32(bytes, at) ^ SECRET_U32[secret]!) >>> 0,
    (readU32(bytes, at + 4) ^ SECRET_U32[secret + 4]!) >>> 0,
    (readU32(bytes, at + 8) ^ SECRET_U32[secret + 8]!) >>> 0,
    (readU32(bytes, at + 12) ^ SECRET_U32[secret + 12]!) >>> 0,
  );
}

function upTo3(bytes: Uint8Array, length: number): void {
  if (length === 0) {
    low = (SECRET_U32[56]! ^ SECRET_U32[64]!) >>> 0;
    high = (SECRET_U32[60]! ^ SECRET_U32[68]!) >>> 0;
  } else {
    const combined = (bytes[0]! << 16) | (bytes[length >> 1]! << 24) | bytes[length - 1]! | (length << 8);
    low = (combined ^ SECRET_U32[0]! ^ SECRET_U32[4]!) >>> 0;
    high = 0;
  }
  avalanche64();
}

function upTo8(bytes: Uint8Array, length: number): void {
  const l = (readU32(bytes, length - 4) ^ SECRET_U32[8]! ^ SECRET_U32[16]!) >>> 0;
  const h = (readU32(bytes, 0) ^ SECRET_U32[12]! ^ SECRET_U32[20]!) >>> 0;
  // x ^ rotl(x, 49) ^ rotl(x, 24); a rotation by 49 is one by 17 with the halves changed
  low = (l ^ ((h << 17) | (l >>> 15)) ^ ((l << 24) | (h >>> 8))) >>> 0;
  high = (h ^ ((l << 17) | (h >>> 15)) ^ ((h << 24) | (l >>> 8))) >>> 0;
  multiply(0x1e98df25, 0x9fb21c65);
  low = (low ^ ((high >>> 3) + length)) >>> 0;
  multiply(0x1e98df25, 0x9fb21c65);
  shiftXorShort(28);
}

function swapBytes(x: number): number {
  return ((x << 24) | ((x & 0xff00) << 8) | ((x >>> 8) & 0xff00) | (x >>> 24)) >>> 0;
}

function upTo16(bytes: Uint8Array, length: number): void {
  const al = (readU32(bytes, 0) ^ SECRET_U32[24]! ^ SECRET_U32[32]!) >>> 0;
  const ah = (readU32(bytes, 4) ^ SECRET_U32[28]! ^ SECRET_U32[36]!) >>> 0;
  const bl = (readU32(bytes, length - 8) ^ SECRET_U32[40]! ^ SECRET_U32[48]!) >>> 0;
  const bh = (readU32(bytes, length - 4) ^ SECRET_U32[44]! ^ SECRET_U32[52]!) >>> 0;
  low = length;
  high = 0;
  add(swapBytes(ah), swapBytes(al));
  add(bl, bh);
  addFolded(al, ah, bl, bh);
  avalanche();
}

function startWithLength(length: number): void {
  low = length >>> 0;
  high = Math.floor(length / 0x1_0000_0000);
  multiply(0x85ebca87, 0x9e3779b1);
}

function upTo128(bytes: Uint8Array, length: number): void {
  startWithLength(length);
  for (let i = (length - 1) >>> 5; i >= 0; i--) {
    addMixed16(bytes, 16 * i, 32 * i);
    addMixed16(bytes, length - 16 * (i + 1), 32 * i + 16);
  }
  avalanche();
}

function upTo240(bytes: Uint8Array, length: number): void {
  startWithLength(length);
  for (let at = 0; at < 128; at += 16) addMixed16(bytes, at, at);
  avalanche();
  for (let at = 128; at + 16 <= length; at += 16) addMixed16(bytes, at, at - 128 + 3);
  addMixed16(bytes, length - 16, 136 - 17);
  avalanche();
}

/** Takes 64 bytes into the lanes: each value goes to the neighbour lane, its keyed halves' product to its own. */
function accumulate(bytes: Uint8Array, at: number, secret: number): void {
  for (let i = 0; i < 16; i += 2) {
    const l = readU32(bytes, at + 4 * i);
    const h = readU32(bytes, at + 4 * i + 4);
    const kl = (l ^ SECRET_U32[secret + 4 * i]!) >>> 0;
    const kh = (h ^ SECRET_U32[secret + 4 * i + 4]!) >>> 0;
    const neighbour = i ^ 2;
    const first = lanes[neighbour]! + l;
    lanes[neighbour] = first;
    lanes[neighbour + 1] = lanes[neighbour + 1]! + h + (first > 0xffff_ffff ? 1 : 0);
    const second = lanes[i]! + (Math.imul(kl, kh) >>> 0);
    lanes[i] = second;
    lanes[i + 1] = lanes[i + 1]! + mulHigh(kl, kh) + (second > 0xffff_ffff ? 1 : 0);
  }
}

function scramble(): void {
  for (let i = 0; i < 16; i += 2) {
    low = lanes[i]!;
    high = lanes[i + 1]!;
    shiftXorLong(47);
    low = (low ^ SECRET_U32[SCRAMBLE_SECRET + 4 * i]!) >>> 0;
    high = (high ^ SECRET_U32[SCRAMBLE_SECRET + 4 * i + 4]!) >>> 0;
    multiply(PRIME32_1, 0);
    lanes[i] = low;
    lanes[i + 1] = high;
  }
}

function over240(bytes: Uint8Array, length: number): void {
  lanes.set(INITIAL);
  const lastStripe = length - STRIPE;
  let at = 0;
  for (; at + BLOCK < length; at += BLOCK) {
    for (let i = 0; i < 16; i++) accumulate(bytes, at + STRIPE * i, 8 * i);
    scramble();
  }
  for (let i = 0; at + STRIPE < length; at += STRIPE, i++) accumulate(bytes, at, 8 * i);
  accumulate(bytes, lastStripe, LAST_STRIPE_SECRET);
  startWithLength(length);
  for (let i = 0; i < 4; i++) {
    addFolded(
      (lanes[4 * i]! ^ SECRET_U32[11 + 16 * i]!) >>> 0,
      (lanes[4 * i + 1]! ^ SECRET_U32[15 + 16 * i]!) >>> 0,
      (lanes[4 * i + 2]! ^ SECRET_U32[19 + 16 * i]!) >>> 0,
      (lanes[4 * i + 3]! ^ SECRET_U32[23 + 16 * i]!) >>> 0,
    );
  }
  avalanche();
}

/** XXH3-64 of the first `length` bytes. */
export function xxh3(bytes: Uint8Array, length: number): bigint {
  if (length <= 3) upTo3(bytes, length);
  else if (length <= 8) upTo8(bytes, length);
  else if (length <= 16) upTo16(bytes, length);
  else if (length <= 128) upTo128(bytes, length);
  else if (length <= 240) upTo240(bytes, length);
  else over240(bytes, length);
  return joinU64(low, high);
}
