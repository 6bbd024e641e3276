import { existsSync } from "node:fs";
import type { Confirmation } from "../cli/confirm.ts";
import { isSameLogin } from "../login-names.ts";
import { isInImage } from "../paths.ts";
import { readConfiguredPort } from "../postgres/server/cluster.ts";
import { choosePort } from "../postgres/server/port.ts";
import { secretPaths } from "../secrets/application-secret.ts";
import type { SecretData } from "../secrets/store.ts";
import { hostAndPort } from "../server-url.ts";
import type { Stack } from "./stack.ts";

/** Asks a question; throws `REFUSED` (exit 8) if the answer is no. */
export type Confirm = (confirmation: Confirmation) => Promise<void>;

/** Where applications find their data. */
interface Place {
  readonly database: string;
  readonly user: string;
  /** The address of the server, if it is another one than that of the stack. */
  readonly otherServer?: string;
}

/**
 * Asks before applications get another server, database or login than they have: they would find another, often empty,
 * database after their next start. A secret in Vault is compared later, by {@link confirmStoredSecret}.
 *
 * @throws {ScriptError} `REFUSED` (exit 8); nothing was written
 */
export async function confirmRepointing(stack: Stack, confirm: Confirm): Promise<void> {
  const { remembered, secretsPlace } = stack;
  const stored = secretsPlace === "file" ? await readStored(stack) : undefined;
  const names = remembered ?? stored;
  if (names === undefined) return;
  const { otherServer } = stored ?? {};
  await ask(stack, { ...names, ...(otherServer === undefined ? {} : { otherServer }) }, confirm);
}

/**
 * Asks the same about the secret in Vault, once that can be read: other applications than those of this folder may use
 * it. Does not ask again about the names that the stack remembers.
 *
 * @throws {ScriptError} `REFUSED` (exit 8); the secret was not changed
 */
export async function confirmStoredSecret(stack: Stack, confirm: Confirm): Promise<void> {
  const { remembered, secretsPlace } = stack;
  if (secretsPlace === "file" || isInImage()) return;
  const stored = await readStored(stack);
  const isKnown = stored?.database === remembered?.database && isSameLogin(stored?.user ?? "", remembered?.user ?? "");
  if (stored === undefined || (isKnown && stored.otherServer === undefined)) return;
  await ask(stack, stored, confirm);
}

async function ask({ database, user }: Stack, known: Place, confirm: Confirm): Promise<void> {
  const hasOtherDatabase = known.database !== database;
  const hasOtherUser = !isSameLogin(known.user, user);
  const { otherServer } = known;
  if (otherServer === undefined && !hasOtherDatabase && !hasOtherUser) return;
  const isElsewhere = otherServer !== undefined || hasOtherDatabase;
  await confirm({
    plan: [
      ...(otherServer === undefined
        ? []
        : [`re-points applications from the server ${otherServer} to that of this stack`]),
      ...(hasOtherDatabase ? [`re-points applications from the database ${known.database} to ${database}`] : []),
      ...(hasOtherUser ? [`re-points applications from the login ${known.user} to ${user}`] : []),
      ...(isElsewhere ? [`keeps: ${known.database} and its data, which applications will no longer use`] : []),
      `from now on, applications and commands use the database ${database} as ${user}`,
    ].join("\n"),
    question: "Re-point them?",
    refusal: "Nothing was changed",
    data: { database: { from: known.database, to: database }, user: { from: known.user, to: user } },
  });
}

/** Reads where the stored secret leads. That of an embedded cluster that was deleted leads nowhere. */
async function readStored(stack: Stack): Promise<Place | undefined> {
  if (stack.mode === "compose" || stack.isAdopting) return undefined;
  const secret = (await stack.secrets.read(secretPaths.application))?.data ?? {};
  const { database, username: user, host, port } = secret;
  if (database === undefined || user === undefined || host === undefined || port === undefined) return undefined;
  const isOwn = stack.mode === "embedded" ? await isOwnServer(stack, secret) : isConfiguredServer(stack, secret);
  if (isOwn && stack.mode === "embedded" && !existsSync(stack.dataDir)) return undefined;
  return { database, user, ...(isOwn ? {} : { otherServer: hostAndPort({ host, port: Number(port) }) }) };
}

/** Without a state, an embedded server is recognised by its port, or by the superuser's password in the folder. */
async function isOwnServer(stack: Stack, { host, port }: SecretData): Promise<boolean> {
  const { remembered, config, dataDir, stackDir, secretsPlace, superuserSecrets } = stack;
  if (host !== "127.0.0.1" || remembered?.mode === "external") return false;
  const ports = [remembered?.port, config.port, await readConfiguredPort(dataDir), await preferredPort(stackDir)];
  if (ports.includes(Number(port))) return true;
  return secretsPlace !== "vault" && (await superuserSecrets.read(secretPaths.superuser)) !== undefined;
}

function preferredPort(stackDir: string): Promise<number> {
  return choosePort(stackDir, () => Promise.resolve(true));
}

/** A configuration without a server is refused later. */
function isConfiguredServer({ config: { externalServer } }: Stack, { host, port }: SecretData): boolean {
  return externalServer === undefined || (externalServer.host === host && externalServer.port === Number(port));
}
