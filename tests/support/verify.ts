import assert from "node:assert/strict";
import type { CheckedItem } from "../../scripts/lib/verify/check.ts";
import { type Verification, type VerifyOptions, verifyStack } from "../../scripts/lib/verify/verify.ts";
import { openTestStack, silentRun } from "./stack.ts";

/** A stack, and possibly another database of its server. */
export interface VerifiedPlace {
  readonly stackDir: string;
  /** Name of the database; that of the stack by default. */
  readonly name?: string;
}

/** Verifies in this process. */
export async function verify({ stackDir, name }: VerifiedPlace, options: VerifyOptions = {}): Promise<Verification> {
  return await verifyStack(await openTestStack(stackDir, { database: name }), silentRun, options);
}

/** Verifies, and returns one check. */
export async function check(
  place: VerifiedPlace,
  id: string,
  limits: VerifyOptions["limits"] = {},
): Promise<CheckedItem> {
  return findCheck(await verify(place, { limits, only: [id] }), id);
}

export function findCheck({ checks }: Verification, id: string): CheckedItem {
  const found = checks.find((item) => item.id === id);
  assert.ok(found, `there is a check ${id}`);
  return found;
}

/** Asserts that a check fails, and why; returns it. */
export async function fails(id: string, why: RegExp, place: VerifiedPlace, limits: VerifyOptions["limits"] = {}) {
  const verification = await verify(place, { limits, only: [id] });
  const item = findCheck(verification, id);
  assert.equal(item.result, "failed", `${id}: ${item.evidence}`);
  assert.match(item.why ?? "", why);
  assert.ok((item.fix ?? "").length > 10, `${id} has a fix`);
  assert.equal(verification.ok, false);
  return item;
}

/** Asserts that no check fails. */
export async function passes(place: VerifiedPlace): Promise<Verification> {
  const verification = await verify(place);
  const failed = verification.checks.filter(({ result }) => result === "failed");
  assert.deepEqual(failed, []);
  assert.equal(verification.ok, true);
  return verification;
}
