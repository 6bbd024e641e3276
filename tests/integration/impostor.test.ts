import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { stopStack } from "../../scripts/lib/operations/stop.ts";
import { clearTextRequest, md5Request, openFakeServer } from "../support/fake-server.ts";
import { runScript, startScript } from "../support/run-script.ts";
import { openTestStack, silentRun, withCluster } from "../support/stack.ts";

test("a program on the port of a stopped server gets no password from any script", async () => {
  await using stack = await withCluster();
  const { port, password } = await stack.application();
  const { password: administratorPassword } = await stack.administrator();
  // A server that is killed leaves this file behind, so nothing shows that another program took its port.
  const pidFile = join(stack.dataDir, "postmaster.pid");
  const content = await readFile(pidFile);
  await stopStack(await openTestStack(stack.stackDir), silentRun);
  await writeFile(pidFile, content);
  for (const request of [clearTextRequest, md5Request]) {
    await using impostor = await openFakeServer((socket) => socket.write(request), port);
    const exitCodes = [];
    for (const words of [["seed"], ["projections", "list"]]) {
      const { exitCode, stderr } = await runScript(words, { stackDir: stack.stackDir });
      assert.match(stderr, /INSECURE_AUTHENTICATION/);
      exitCodes.push(exitCode);
    }
    const waiting = startScript(["wait-for", "postgres"], { stackDir: stack.stackDir });
    await waiting.saw("INSECURE_AUTHENTICATION");
    waiting.kill("SIGTERM");
    exitCodes.push((await waiting.ended).exitCode);
    for (const words of [["status"], ["backup"], ["schema", "status"]]) {
      exitCodes.push((await runScript(words, { stackDir: stack.stackDir })).exitCode);
    }
    for (const words of [["psql"], ["psql", "--admin"]]) {
      exitCodes.push((await runScript([...words, "-c", "select 1"], { stackDir: stack.stackDir })).exitCode);
    }
    assert.deepEqual(exitCodes, [6, 6, 143, 3, 3, 3, 3, 3]);
    assert.ok(impostor.connections >= 3);
    assert.equal(impostor.answers().length, 0);
    const received = impostor.received();
    for (const secret of [password, administratorPassword ?? ""]) assert.equal(received.includes(secret), false);
  }
});
