import assert from "node:assert/strict";
import { cp, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { append } from "../support/append.ts";
import { makeComposeStack, mustRun, run, startComposeStack } from "../support/compose.ts";

test("an ordinary user can control the stack, and owns the files that it leaves in the project", async (t) => {
  if (process.getuid?.() !== 0) return t.skip("this run is not root's");
  await using stack = await makeComposeStack();
  const config = join(stack.dir, ".docker");
  await cp(`${stack.env["DOCKER_CONFIG"]}`, config, { recursive: true });
  mustRun("chown", await run("chown", ["--recursive", "1000:1000", stack.dir]));
  const socket = (stack.env["DOCKER_HOST"] ?? "unix:///var/run/docker.sock").replace("unix://", "");
  const identity = ["--reuid=1000", "--regid=1000", `--groups=${(await stat(socket)).gid}`, "--no-new-privs"];
  const compose = async (...words: string[]) => {
    const command = [...identity, "docker", "compose", "--ansi=never", ...words];
    const options = { cwd: stack.dir, env: { ...stack.env, HOME: stack.dir, DOCKER_CONFIG: config } };
    return mustRun(words.join(" "), await run("setpriv", command, options));
  };
  await compose("up", "--wait", "--quiet-pull");
  await compose("run", "--rm", "-T", "init", "backup");
  const strangers = await run("find", [stack.dir, "!", "-uid", "1000"]);
  assert.equal(mustRun("find", strangers), "");
  await compose("down", "--volumes");
});

test("the init container can be used as a tool to back up to a folder of the host and restore from it", async () => {
  await using stack = await startComposeStack({ CQRS_UID: "1234", CQRS_GID: "2345" });
  const init = (...words: string[]) => stack.mustCompose("run", "--rm", "-T", "init", ...words);
  const count = async () => {
    const [row] = await stack.withSession((sql) => sql`select count(*)::int from event_store.domain_event`);
    return row?.["count"];
  };
  await stack.withSession((sql) => append(sql, {}));
  await init("seed");
  const events = await count();
  await init("backup", "--encrypt");
  const folder = join(stack.dir, "infrastructure/postgres/backups");
  const archive = (await readdir(folder)).find((name) => name !== ".stack-id");
  const { uid, mode } = await stat(join(folder, `${archive}`));
  assert.deepEqual([uid, mode & 0o777], [1234, 0o700]);
  assert.match(await init("backup", "list"), new RegExp(`${archive}`));
  assert.match(await init("backup", "verify", "--restore"), /is intact/);
  await stack.withSession((sql) => append(sql, {}));
  assert.equal(await count(), events + 1);
  await init("restore", "latest", "--yes", "--drop-old");
  assert.equal(await count(), events);
  await stack.withSession((sql) => append(sql, {}));
  await stack.mustCompose("up", "--wait");
  assert.equal(await count(), events + 1);
});
