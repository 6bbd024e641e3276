import { createHash } from "node:crypto";

/**
 * Random numbers that are the same for the same seed, on every runtime: only operations with exact results are used
 * (sfc32, by Chris Doty-Humphrey).
 */
export class Random {
  // Of 32 bits each. Fields, because an array would make a draw three times as slow.
  #a: number;
  #b: number;
  #c: number;
  #counter: number;

  constructor(seed: string) {
    const hash = createHash("sha256").update(seed).digest();
    this.#a = hash.readInt32LE(0);
    this.#b = hash.readInt32LE(4);
    this.#c = hash.readInt32LE(8);
    this.#counter = hash.readInt32LE(12);
  }

  /** @returns a number from 0 to 1, without 1 */
  next(): number {
    return this.#draw() / 2 ** 32;
  }

  /** @returns a whole number from `min` to `max`, both included */
  integer(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1));
  }

  /** @param probability from 0 to 1 */
  chance(probability: number): boolean {
    return this.next() < probability;
  }

  /** @throws {Error} if there is nothing to pick from */
  pick<Item>(items: readonly Item[]): Item {
    if (items.length === 0) throw new Error("there is nothing to pick from");
    return items[this.integer(0, items.length - 1)] as Item;
  }

  /** @returns a UUIDv7 of a time, or a UUIDv4 */
  uuid(time?: Date): string {
    const bytes = Buffer.alloc(16);
    for (const offset of [0, 4, 8, 12]) bytes.writeUInt32BE(this.#draw(), offset);
    if (time !== undefined) bytes.writeUIntBE(time.getTime(), 0, 6);
    bytes[6] = ((bytes[6] as number) & 0x0f) | (time === undefined ? 0x40 : 0x70);
    bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
    return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  }

  #draw(): number {
    const drawn = (((this.#a + this.#b) | 0) + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + drawn) | 0;
    return drawn >>> 0;
  }
}
