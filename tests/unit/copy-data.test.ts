import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { CopyRows } from "../../scripts/lib/postgres/pool/copy-data.ts";
import { message } from "../support/fake-server.ts";

function row(text: string): Buffer {
  return message("d", text);
}

/** Passes chunks to the rows of a COPY, until another message arrives. */
function take(...chunks: readonly Buffer[]) {
  const content: Buffer[] = [];
  const stream = new Readable({ read: () => {} });
  stream.on("data", (piece: Buffer) => content.push(piece));
  let pauses = 0;
  const rows = new CopyRows(stream, () => pauses++);
  let rest = Buffer.alloc(0);
  for (const chunk of chunks) {
    rest = rest.length > 0 ? Buffer.concat([rest, chunk]) : Buffer.from(rows.take(Buffer.from(chunk)));
    for (let piece = stream.read(); piece !== null; piece = stream.read());
  }
  return { content: Buffer.concat(content).toString("latin1"), rest: rest.toString("latin1"), pauses };
}

test("the stream of a COPY gets the contents of its rows", () => {
  const { content, rest } = take(Buffer.concat([row("one\n"), row(""), row("two\n"), row("three\n")]));
  assert.equal(content, "one\ntwo\nthree\n");
  assert.equal(rest, "");
});

test("another message and all that follows it is left", () => {
  const others = [message("N", "SNOTICE\0Mhello\0\0"), message("c"), message("C", "COPY 2\0")];
  for (const other of others) {
    const { content, rest } = take(Buffer.concat([row("a"), row("b"), other, row("c")]));
    assert.equal(content, "ab");
    assert.equal(rest, Buffer.concat([other, row("c")]).toString("latin1"));
  }
});

test("a message with an impossible length is left", () => {
  const impossible = Buffer.from("d\0\0\0\x03");
  assert.deepEqual(take(Buffer.concat([row("a"), impossible])), { content: "a", rest: "d\0\0\0\x03", pauses: 0 });
});

test("however the bytes are split, the stream and the rest are the same", () => {
  const bytes = Buffer.concat([row("one\n"), row(""), row("a longer row\n"), message("c"), message("C", "COPY 3\0")]);
  const expected = take(bytes);
  for (let first = 0; first < bytes.length; first++) {
    for (let second = first; second < bytes.length; second++) {
      const pieces = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)];
      assert.deepEqual(take(...pieces), expected, `split at ${first} and ${second}`);
    }
  }
  const single = Array.from(bytes, (_, at) => bytes.subarray(at, at + 1));
  assert.deepEqual(take(...single), expected);
});

test("a stream that is not read pauses the socket", () => {
  let pauses = 0;
  const rows = new CopyRows(new Readable({ highWaterMark: 8, read: () => {} }), () => pauses++);
  rows.take(row("1234"));
  assert.equal(pauses, 0);
  rows.take(row("5678"));
  assert.equal(pauses, 1);
});
