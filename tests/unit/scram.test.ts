import assert from "node:assert/strict";
import { createHash, createHmac, pbkdf2Sync } from "node:crypto";
import { test } from "node:test";
import { matchesVerifier, scramVerifier } from "../../scripts/lib/postgres/logins/scram.ts";

/** The exchange of RFC 7677, section 3. */
const rfc = {
  password: "pencil",
  salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
  iterations: 4096,
  authMessage:
    "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
  clientProof: "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
  serverSignature: "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
} as const;

const salt = new Uint8Array(Buffer.from(rfc.salt, "base64"));

function hmac(key: Uint8Array, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}

test("scramVerifier() agrees with node:crypto", async () => {
  const salted = pbkdf2Sync(rfc.password, salt, rfc.iterations, 32, "sha256");
  const storedKey = sha256(hmac(salted, "Client Key")).toString("base64");
  const serverKey = hmac(salted, "Server Key").toString("base64");
  const wanted = `SCRAM-SHA-256$4096:${rfc.salt}$${storedKey}:${serverKey}`;
  assert.equal(await scramVerifier(rfc.password, salt, rfc.iterations), wanted);
});

test("scramVerifier() derives keys that match the exchange of RFC 7677", async () => {
  const [, , keys = ""] = (await scramVerifier(rfc.password, salt, rfc.iterations)).split("$");
  const [storedKey, serverKey] = keys.split(":").map((key) => Buffer.from(key, "base64")) as [Buffer, Buffer];
  assert.equal(hmac(serverKey, rfc.authMessage).toString("base64"), rfc.serverSignature);
  const signature = hmac(storedKey, rfc.authMessage);
  const clientKey = Buffer.from(rfc.clientProof, "base64").map((byte, index) => byte ^ (signature[index] as number));
  assert.deepEqual(sha256(clientKey), storedKey);
});

test("scramVerifier() uses a new salt each time", async () => {
  assert.notEqual(await scramVerifier("secret"), await scramVerifier("secret"));
});

test("matchesVerifier() recognises the password of a verifier", async () => {
  assert.equal(await matchesVerifier("secret", await scramVerifier("secret")), true);
  assert.equal(await matchesVerifier(rfc.password, await scramVerifier(rfc.password, salt, 1)), true);
});

test("matchesVerifier() refuses another password", async () => {
  assert.equal(await matchesVerifier("Secret", await scramVerifier("secret")), false);
});

test("matchesVerifier() refuses a verifier with another key", async () => {
  const verifier = await scramVerifier("secret", salt, 1);
  assert.equal(await matchesVerifier("secret", verifier.replace(/:[^:]+$/, `:${rfc.serverSignature}`)), false);
});

for (const verifier of [
  null,
  "",
  "secret",
  "md5d8578edf8458ce06fbc5bb76a58c5ca4",
  "SCRAM-SHA-256$",
  "SCRAM-SHA-256$4096:$a:b",
  "SCRAM-SHA-256$0:c2FsdA==$a:b",
  "SCRAM-SHA-256$many:c2FsdA==$a:b",
  "SCRAM-SHA-1$4096:c2FsdA==$a:b",
]) {
  test(`matchesVerifier() is false for ${JSON.stringify(verifier)}`, async () => {
    assert.equal(await matchesVerifier("secret", verifier), false);
  });
}
