import assert from "node:assert/strict";
import { test } from "node:test";
import { quoteIdentifier, quoteLiteral } from "../../scripts/lib/postgres/quote.ts";

const identifiers: readonly (readonly [name: string, quoted: string])[] = [
  ["cqrs_db", '"cqrs_db"'],
  ["Orders", '"Orders"'],
  ["a.b", '"a.b"'],
  ['say "hi"', '"say ""hi"""'],
  ["back\\slash", '"back\\slash"'],
  ["it's", '"it\'s"'],
];

const literals: readonly (readonly [text: string, quoted: string])[] = [
  ["", "''"],
  ["plain", "'plain'"],
  ["it's", "'it''s'"],
  ['"quoted"', "'\"quoted\"'"],
  ["back\\slash", " E'back\\\\slash'"],
  ["\\' or 1=1 --", " E'\\\\'' or 1=1 --'"],
];

for (const [name, quoted] of identifiers) {
  test(`quoteIdentifier() writes ${name} as ${quoted}`, () => assert.equal(quoteIdentifier(name), quoted));
}

for (const [text, quoted] of literals) {
  test(`quoteLiteral() writes ${JSON.stringify(text)} as ${quoted}`, () => assert.equal(quoteLiteral(text), quoted));
}
