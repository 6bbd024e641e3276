import { mkdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { tokenLogin } from "../../scripts/lib/secrets/vault/authentication.ts";
import { VaultClient } from "../../scripts/lib/secrets/vault/client.ts";
import { generateRoot, revokeRoot } from "../../scripts/lib/secrets/vault/root.ts";
import { localVaultAddress, localVaultFiles, stopLocalVault } from "../../scripts/lib/stack/local-vault.ts";
import { runForData, runScript, type ScriptRun, startScript } from "./run-script.ts";
import { makeTestStack } from "./stack.ts";
import { vaultProgram, vaultSkip } from "./vault.ts";

/** Why tests of a local Vault are skipped; false if they can run. */
export const localVaultSkip: string | false =
  vaultSkip || (vaultProgram?.binary === undefined ? "requires a binary of Vault, not a container" : false);
const wait = { timeoutMs: 60_000, signal: new AbortController().signal };

/** A stack whose scripts find Vault's binary on the PATH. */
export async function makeVaultStack() {
  const stack = await makeTestStack();
  const { stackDir } = stack;
  const programs = join(stackDir, "programs");
  await mkdir(programs);
  await symlink(`${vaultProgram?.binary}`, join(programs, "vault"));
  const env = { PATH: `${programs}:${process.env["PATH"]}` };
  return {
    stackDir,
    files: localVaultFiles(stackDir),
    run: (...words: string[]): Promise<ScriptRun> => runScript(words, { stackDir, env }),
    start: (...words: string[]) => startScript(words, { stackDir, env }),
    data: <Data>(...words: string[]): Promise<Data> => runForData<Data>(words, { stackDir, env }),
    password: async () => {
      const shown = await runForData<{ key: string; value: string }[]>(["secrets", "show", "--reveal"], {
        stackDir,
        env,
      });
      return shown.find(({ key }) => key === "password")?.value;
    },
    async [Symbol.asyncDispose]() {
      await stopLocalVault(stackDir, wait);
      await stack[Symbol.asyncDispose]();
    },
  };
}

/** A stack of {@link makeVaultStack}. */
export type VaultStack = Awaited<ReturnType<typeof makeVaultStack>>;

/** Counts the root tokens of a local Vault, with a temporary one that it does not count. */
export async function countRootTokens(stack: VaultStack): Promise<number> {
  const { client, token } = await openAsRoot(stack);
  const { data } = await client.request({ method: "GET", path: "auth/token/accessors", isList: true });
  let count = 0;
  for (const accessor of data.keys) {
    const { data: found } = await client.request({
      method: "POST",
      path: "auth/token/lookup-accessor",
      body: { accessor },
    });
    count += found.policies.includes("root") ? 1 : 0;
  }
  await revokeRoot(client, token);
  return count - 1;
}

/** Leaves a root token behind, as a killed run does. */
export async function leaveRootToken(stack: VaultStack): Promise<void> {
  await openAsRoot(stack);
}

/** Leaves the state of a run that was killed after it delivered a secret id but before it revoked root. */
export async function leaveUnfinished(stack: VaultStack): Promise<void> {
  const { client } = await openAsRoot(stack);
  const path = "auth/approle/role/cqrs-init/secret-id";
  const { wrap_info } = await client.request({ method: "POST", path, body: {}, wrapTtl: "5m" });
  const delivery = JSON.stringify({ token: wrap_info?.token, delivery: "unfinished" });
  await writeFile(join(stack.files.credentials, "cqrs-init.wrapped"), delivery, { mode: 0o600 });
  await rm(join(stack.files.credentials, "cqrs-init.secret-id"));
}

async function openAsRoot({ stackDir, files }: VaultStack): Promise<{ client: VaultClient; token: string }> {
  const limits = { timeoutMs: 30_000, unreachableMs: 0, sealedMs: 0 };
  const options = { address: `${localVaultAddress(stackDir)}`, limits };
  const anybody = new VaultClient({ ...options, login: tokenLogin("") });
  const token = await generateRoot(anybody, (await readFile(files.unsealKey, "utf8")).trim());
  return { client: new VaultClient({ ...options, login: tokenLogin(token) }), token };
}
