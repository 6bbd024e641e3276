import assert from "node:assert/strict";
import { test } from "node:test";
import { portTaken } from "../../scripts/lib/cli/errors.ts";
import { choosePort, startOnNewPort } from "../../scripts/lib/postgres/server/port.ts";

function taken(port: number): Error {
  return portTaken({ port, holder: "another program", why: "", move: "" });
}

test("a folder always gets the same port, or the next one that is free", async () => {
  const first = await choosePort("/some/folder", async () => true);
  assert.equal(await choosePort("/some/folder", async () => true), first);
  assert.equal(await choosePort("/some/folder", async (port) => port > first), first === 29_999 ? 20_000 : first + 1);
});

test("a server whose port is taken before it listens starts on another one", async () => {
  const ports = [1, 2, 3];
  const started = await startOnNewPort(
    async () => ports.shift() ?? 0,
    async (port) => {
      if (port < 3) throw taken(port);
      return "started";
    },
  );
  assert.deepEqual(started, { port: 3, result: "started" });
});

test("a server that finds no port, or fails for another reason, is not started again and again", async () => {
  let starts = 0;
  const always = (error: Error) =>
    startOnNewPort(
      async () => ++starts,
      async () => {
        throw error;
      },
    );
  await assert.rejects(always(taken(1)), { code: "PORT_TAKEN" });
  assert.equal(starts, 5);
  await assert.rejects(always(new Error("the disk is full")), /disk/);
  assert.equal(starts, 6);
});
