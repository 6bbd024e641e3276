import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import { secretPaths } from "../../scripts/lib/secrets/application-secret.ts";
import { runForData } from "../support/run-script.ts";
import { buildSpringApplication, type SpringApplication, springSkip } from "../support/spring.ts";
import { openTestStack, type TestStack, withCluster } from "../support/stack.ts";
import { startVault, type TestVault } from "../support/vault.ts";

/** The capabilities of an application in `infrastructure/vault/policies`. */
const policy = 'path "secret/data/cqrs-spike/database*" { capabilities = ["read"] }';

let stack: TestStack;
let vault: TestVault;
let application: SpringApplication;
before(async () => {
  if (springSkip !== false) return;
  [stack, vault, application] = await Promise.all([withCluster(), startVault(), buildSpringApplication()]);
  await fillVault();
  await using owner = openConnection(await stack.application());
  await owner.sql`create table command_model.note (note_id uuid primary key, written_text varchar(255))`;
});
after(async () => {
  for (const part of [application, vault, stack]) await part?.[Symbol.asyncDispose]();
});

test("a Spring Boot application starts with our unmodified application.yml, a token, and the secret for the host", {
  skip: springSkip,
}, async () => {
  const env = { VAULT_ADDR: vault.address, VAULT_TOKEN: await vault.tokenFor(policy), CQRS_SECRET: "database-local" };
  const { port } = await stack.application();
  const result = await assertWorks(env, "cqrs_user as cqrs_app");
  assert.deepEqual(result.slice(2), [
    `jdbc:postgresql://127.0.0.1:${port}/cqrs_db`,
    "CqrsHikariPool",
    "max 10",
    "idle 5",
    "auto-commit false",
    "rewrites true",
  ]);
});

test("it starts with an AppRole and the secret for containers, and with the other login after a rotation", {
  skip: springSkip,
}, async () => {
  const env = { VAULT_ADDR: vault.address, VAULT_AUTHENTICATION: "APPROLE", ...(await makeAppRole()) };
  await assertWorks(env, "cqrs_user as cqrs_app");
  await runForData(["secrets", "rotate"], stack);
  await fillVault();
  await assertWorks(env, "cqrs_user_b as cqrs_app");
});

test("without permission to read the secret it does not start, and prints no token", {
  skip: springSkip,
}, async () => {
  const token = await vault.tokenFor('path "secret/data/another" { capabilities = ["read"] }');
  const { exitCode, output } = await application.run({ VAULT_ADDR: vault.address, VAULT_TOKEN: token });
  assert.notEqual(exitCode, 0);
  assert.match(output, /403/);
  assert.ok(!output.includes(token));
});

/** Runs the application once and checks what it wrote. */
async function assertWorks(env: Readonly<Record<string, string>>, who: string): Promise<string[]> {
  const { exitCode, output } = await application.run(env);
  assert.equal(exitCode, 0, output);
  const { user, password } = await stack.application();
  assert.ok(!output.includes(password));
  const result = (/^RESULT (.*)$/m.exec(output)?.[1] ?? assert.fail(output)).split(" | ");
  assert.deepEqual([result[1], who.split(" ")[0]], [who, user]);
  await using admin = openConnection(await stack.administrator());
  const rows = await admin.sql`
    select written_text, event_type from command_model.note
    join event_store.event_stream on aggregate_id = note_id join event_store.domain_event using (stream_id)
    where note_id = ${result[0] ?? ""}`;
  assert.deepEqual([...rows], [{ written_text: "by Spring", event_type: "NoteWritten" }]);
  return result;
}

/** Copies the stack's secrets to Vault. */
async function fillVault(): Promise<void> {
  await vault.request("POST", "sys/mounts/secret", { type: "kv", options: { version: "2" } });
  const { secrets } = await openTestStack(stack.stackDir);
  for (const path of [secretPaths.application, secretPaths.applicationLocal]) {
    const [mount, ...rest] = path.split("/");
    const data = (await secrets.read(path))?.data;
    for (let status = 0; status !== 200; ) {
      ({ status } = await vault.request("POST", `${mount}/data/${rest.join("/")}`, { data }));
    }
  }
}

async function makeAppRole(): Promise<{ readonly VAULT_ROLE_ID: string; readonly VAULT_SECRET_ID: string }> {
  await vault.request("POST", "sys/auth/approle", { type: "approle" });
  await vault.request("PUT", "sys/policies/acl/spring", { policy });
  await vault.request("POST", "auth/approle/role/spring", {
    token_policies: ["spring"],
    token_no_default_policy: true,
  });
  const role = await vault.request("GET", "auth/approle/role/spring/role-id");
  const secret = await vault.request("POST", "auth/approle/role/spring/secret-id");
  return { VAULT_ROLE_ID: role.body.data.role_id, VAULT_SECRET_ID: secret.body.data.secret_id };
}
