import assert from "node:assert/strict";
import { test } from "node:test";
import { generatePassword } from "../../scripts/lib/secrets/password.ts";

const passwords = Array.from({ length: 1000 }, generatePassword);

test("generatePassword() returns 32 characters of A-Z a-z 0-9", () => {
  for (const password of passwords) assert.match(password, /^[A-Za-z0-9]{32}$/);
});

test("generatePassword() returns a new password each time", () => {
  assert.equal(new Set(passwords).size, passwords.length);
});

test("generatePassword() uses the whole alphabet", () => {
  assert.equal(new Set(passwords.join("")).size, 62);
});
