import assert from "node:assert/strict";
import { test } from "node:test";
import { joinCopyData } from "../../scripts/lib/postgres/pool/copy-data.ts";
import { message } from "../support/fake-server.ts";

function row(text: string): Buffer {
  return message("d", text);
}

function join(bytes: Buffer, from = 0): string {
  return Buffer.concat(joinCopyData(Buffer.from(bytes), from)).toString("latin1");
}

test("adjacent rows of a COPY become one message", () => {
  const rows = Buffer.concat([row("one\n"), row(""), row("two\n"), row("three\n")]);
  assert.equal(join(rows), row("one\ntwo\nthree\n").toString("latin1"));
});

test("other messages stay where they are, and rows around them are not joined", () => {
  const notice = message("N", "SNOTICE\0Mhello\0\0");
  const bytes = Buffer.concat([notice, row("a"), row("b"), notice, row("c"), message("c"), message("C", "COPY 3\0")]);
  const expected = Buffer.concat([notice, row("ab"), notice, row("c"), message("c"), message("C", "COPY 3\0")]);
  assert.equal(join(bytes), expected.toString("latin1"));
});

test("the end of an earlier message and an incomplete last one stay as they are", () => {
  const earlier = Buffer.from("rest of a row");
  for (const length of [1, 4, 5, 7]) {
    const last = row("incomplete").subarray(0, length);
    const bytes = Buffer.concat([earlier, row("a"), row("b"), last]);
    assert.equal(join(bytes, earlier.length), Buffer.concat([earlier, row("ab"), last]).toString("latin1"));
  }
  assert.equal(join(earlier, earlier.length), earlier.toString("latin1"));
});

/** What a client reads: the contents of adjacent rows together, and all other messages. */
function read(bytes: Buffer): string[] {
  const found: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + bytes.readUInt32BE(at + 1);
    const letter = bytes.toString("latin1", at, at + 1);
    const content = bytes.toString("latin1", at + 5, end);
    const last = found.at(-1);
    if (letter === "d" && last?.startsWith("d")) found[found.length - 1] = last + content;
    else found.push(letter + content);
    at = end;
  }
  return found;
}

test("however the bytes are split, a client reads the same", () => {
  let seed = 7;
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return seed % below;
  };
  for (let round = 0; round < 2_000; round++) {
    const messages = Array.from({ length: random(12) }, (_, index) =>
      message(random(4) === 0 ? "N" : "d", `${index}`.repeat(random(30))),
    );
    const bytes = Buffer.concat(messages);
    const cut = bytes.length === 0 ? 0 : random(bytes.length);
    let from = 0;
    for (const { length } of messages) if (from < cut) from += length;
    const first = Buffer.concat(joinCopyData(Buffer.from(bytes.subarray(0, cut)), 0));
    const second = Buffer.concat(joinCopyData(Buffer.from(bytes.subarray(cut)), from - cut));
    assert.deepEqual(read(Buffer.concat([first, second])), read(bytes));
  }
});
