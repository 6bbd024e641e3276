import { chmod, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { runLine } from "../../cli/run-line.ts";
import { parseDotEnv } from "../../dot-env.ts";
import { environment } from "../../runtime.ts";
import { isSameAddress } from "../../stack/secret-store.ts";
import { readState, type StackState } from "../../stack/state.ts";
import type { DoctorContext, Probe } from "../context.ts";
import type { Finding } from "../finding.ts";

/** The project's `.env`: what it says about the stack, and who can read it. */
export const configurationProbe: Probe = { area: "configuration", find: findConfigurationProblems };

/** A setting of `.env`, and the value that the stack remembers. */
interface Difference {
  readonly name: string;
  readonly given: string;
  readonly known: string;
}

const othersMask = 0o077;
const secretNames = ["POSTGRES_PASSWORD", "PGPASSWORD", "VAULT_TOKEN", "BAO_TOKEN", "VAULT_SECRET_ID"];

async function findConfigurationProblems({ config }: DoctorContext): Promise<readonly Finding[]> {
  const file = join(config.projectDir, ".env");
  const text = await readFile(file, "utf8").catch(() => undefined);
  if (text === undefined) return [];
  const variables = parseDotEnv(text);
  // The files area reports a state that cannot be read.
  const remembered = await readState(config.stackDir).catch(() => undefined);
  const differences = remembered === undefined ? [] : compare(variables, remembered);
  const { mode } = await stat(file);
  const isOpen = (mode & othersMask) !== 0 && Object.entries(variables).some(isSecret);
  return [...(differences.length === 0 ? [] : [conflict(differences)]), ...(isOpen ? [readable(file, mode)] : [])];
}

/** A variable of the environment overrides that of the file. */
function compare(variables: Readonly<Record<string, string>>, remembered: StackState): readonly Difference[] {
  const known = knownValues(remembered);
  const given = environment();
  const differences = Object.entries(variables).flatMap(([name, value]) =>
    known[name] === undefined || value === "" || isSame(name, value, known[name]) || given[name]
      ? []
      : [{ name, given: value, known: known[name] }],
  );
  // Another mode explains the rest.
  const mode = differences.find(({ name }) => name === "CQRS_MODE");
  return mode === undefined ? differences : [mode];
}

function isSame(name: string, value: string, known: string): boolean {
  return value === known || (name === "VAULT_ADDR" && isSameAddress(value, known));
}

function knownValues({
  mode,
  database,
  user,
  port,
  secrets,
  vaultAddress,
}: StackState): Record<string, string | undefined> {
  const server = { CQRS_MODE: mode, POSTGRES_DB: database, POSTGRES_USER: user, POSTGRES_PORT: port?.toString() };
  if (mode === "compose") return server;
  const place = secrets === undefined ? "file" : "vault";
  return { ...server, CQRS_SECRETS: place, VAULT_ADDR: vaultAddress ?? "none, since its secrets are in files" };
}

function isSecret([name, value]: readonly [string, string]): boolean {
  return value !== "" && (secretNames.includes(name) || /^postgres(ql)?:\/\/[^/@]*:[^/@]+@/.test(value));
}

function conflict(differences: readonly Difference[]): Finding {
  const names = differences.map(({ name }) => name).join(", ");
  return {
    id: "env-conflicts",
    symptom: "cannot-connect",
    cause: "The project's .env names another stack than the one that was set up.",
    evidence: differences.map(({ name, given, known }) => `${name} is ${given}; the stack has ${known}.`).join("\n"),
    fix:
      `Remove ${names} from .env. If the values in it are the right ones, run ${runLine("stop")} && ` +
      `${runLine("bootstrap")}, which sets up the stack with them.`,
  };
}

function readable(file: string, mode: number): Finding {
  return {
    id: "env-readable",
    symptom: "secrets",
    cause: "Other users of this machine can read the secrets in .env.",
    evidence: `${file} has the mode ${(mode & 0o777).toString(8).padStart(4, "0")}, and contains a password or token.`,
    fix: `Run chmod 0600 '${file}'.`,
    repair: { description: `gives ${file} the mode 0600`, run: () => chmod(file, 0o600) },
  };
}
