import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { chooseLogger, type Logger } from "../../scripts/lib/event-store/logger.ts";

function writtenToStderr(work: () => void): string {
  const write = process.stderr.write;
  let text = "";
  process.stderr.write = (chunk: string | Uint8Array) => {
    text += chunk;
    return true;
  };
  try {
    work();
  } finally {
    process.stderr.write = write;
  }
  return text;
}

function report(logger: Logger): void {
  logger.info("all is well", { seconds: 1 });
  logger.warn("the server\n  is away ", { code: "57P01" });
}

test("by default, warnings are written to stderr, one line each", () => {
  const text = writtenToStderr(() => report(chooseLogger(undefined)));
  assert.equal(text, "cqrs-postgres: the server is away\n");
});

test("false is no logger", () => {
  assert.equal(
    writtenToStderr(() => report(chooseLogger(false))),
    "",
  );
});

test("the console is a logger", () => {
  const seen: unknown[] = [];
  const { info, warn } = console;
  Object.assign(console, { info: (...all: unknown[]) => seen.push(all), warn: (...all: unknown[]) => seen.push(all) });
  try {
    report(chooseLogger(console));
  } finally {
    Object.assign(console, { info, warn });
  }
  assert.deepEqual(seen, [
    ["all is well", { seconds: 1 }],
    ["the server\n  is away ", { code: "57P01" }],
  ]);
});

test("a logger that throws or rejects does no harm", async () => {
  const unhandled: unknown[] = [];
  const onUnhandled = (reason: unknown) => unhandled.push(reason);
  process.on("unhandledRejection", onUnhandled);
  const rejects = async () => {
    throw new Error("the disk is full");
  };
  const throws = () => {
    throw new Error("the disk is full");
  };
  report(chooseLogger({ info: throws, warn: throws }));
  report(chooseLogger({ info: rejects, warn: rejects }));
  await sleep(10);
  process.off("unhandledRejection", onUnhandled);
  assert.deepEqual(unhandled, []);
});
