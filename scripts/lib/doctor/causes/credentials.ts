import { runLine } from "../../cli/run-line.ts";
import { ScriptError } from "../../cli/script-error.ts";
import { openConnection } from "../../postgres/connect.ts";
import type { Sql } from "../../postgres/driver.ts";
import { explainConnectionError } from "../../postgres/explain.ts";
import { connectionFailure, errorCode, messageWithCode } from "../../postgres/failure.ts";
import type { ConnectionTarget } from "../../postgres/target.ts";
import { describeOtherServer } from "../../stack/external.ts";
import { applicationTarget, checkOwnServer, type Stack } from "../../stack/stack.ts";
import { bootstrapRepair, type DoctorContext, type Probe } from "../context.ts";
import { type Finding, NotChecked } from "../finding.ts";

/** Whether the application can log in with what is in the secret store. */
export const credentialsProbe: Probe = { area: "credentials", find: findCredentialProblems };

async function findCredentialProblems(context: DoctorContext): Promise<readonly Finding[]> {
  const { sql } = await context.server();
  const stack = await context.stack();
  const other = await describeOtherServer(stack, sql);
  if (other !== undefined) throw new NotChecked(`the credentials are not sent, because ${other}`);
  const target = await applicationTarget(stack).catch(missingOnly);
  if (target instanceof ScriptError) return [missing(context, target)];
  try {
    await checkOwnServer(stack, target);
  } catch (error) {
    if (errorCode(error) !== "OTHER_SERVER") throw error;
    return [wrongAddress(context, (error as Error).message)];
  }
  const error = await tryLogin(stack, context);
  if (error === undefined) return [];
  if (connectionFailure(error) === undefined) throw error;
  const login = await readLogin(sql, target.user);
  if (errorCode(error) === "28P01" && login === "exists")
    return [passwordRefused(context, target.user, error as Error)];
  return [loginRefused(context, { target, error: error as Error, login })];
}

function missingOnly(error: unknown): ScriptError {
  if (errorCode(error) !== "SECRETS_MISSING") throw error;
  return error as ScriptError;
}

function missing(context: DoctorContext, { message, why = message, fix = "" }: ScriptError): Finding {
  const finding = { id: "secrets-missing", symptom: "secrets", cause: `${message}.`, evidence: why, fix } as const;
  return { ...finding, repair: bootstrapRepair(context) };
}

/** @returns why the login failed */
async function tryLogin(stack: Stack, { signal, limits }: DoctorContext): Promise<unknown> {
  const target = { ...(await applicationTarget(stack)), database: stack.database };
  const options = {
    applicationName: "cqrs-postgres doctor",
    connectTimeoutSeconds: limits.connectTimeoutSeconds,
    signal,
  };
  await using connection = openConnection(target, options);
  return await connection.sql`select 1`.then(
    () => undefined,
    (error: unknown) => error ?? new NotChecked("the login failed without a reason"),
  );
}

function wrongAddress(context: DoctorContext, evidence: string): Finding {
  return {
    id: "secret-address-wrong",
    symptom: "cannot-connect",
    cause: "The secret names another port than the one that the server listens on.",
    evidence,
    fix: `Run ${runLine("bootstrap")}, which writes the address to the secret.`,
    repair: bootstrapRepair(context),
  };
}

function passwordRefused(context: DoctorContext, login: string, error: Error): Finding {
  return {
    id: "password-refused",
    symptom: "secrets",
    cause: "The server refuses the password in the secret store: its data directory or volume keeps another one.",
    evidence: `${messageWithCode(error)}; the login ${login} exists`,
    fix: `Run ${runLine("bootstrap")}, which sets the password of the store on the server.`,
    repair: bootstrapRepair(context),
  };
}

/** What is wrong with the role that logs in. */
type LoginState = "missing" | "disabled" | "expired" | "exists";

const descriptions = {
  missing: "does not exist",
  disabled: "may not log in",
  expired: "has expired",
  exists: "exists",
} as const satisfies Record<LoginState, string>;

/** What `bootstrap` sets. Connection limits, pg_hba.conf and certificates are the administrator's. */
const isSetByBootstrap = (error: Error, login: LoginState) => login !== "exists" || errorCode(error) === "42501";

function loginRefused(
  context: DoctorContext,
  { target, error, login }: { readonly target: ConnectionTarget; readonly error: Error; readonly login: LoginState },
): Finding {
  const finding = {
    id: "login-refused",
    symptom: "cannot-connect",
    cause: "The server refuses the application's login, although its password is not what is wrong.",
    evidence: `${messageWithCode(error)}; the login ${target.user} ${descriptions[login]}`,
  } as const;
  if (isSetByBootstrap(error, login)) {
    const fix = `Run ${runLine("bootstrap")}, which creates the login and grants it what it needs.`;
    return { ...finding, fix, repair: bootstrapRepair(context) };
  }
  const explained = explainConnectionError(error, target);
  const isGeneral = errorCode(explained) === "NOT_READY" || !(explained instanceof ScriptError);
  const general = `Fix what the server reports: see pg_hba.conf, and the connection limits of ${target.user} and its database.`;
  return { ...finding, fix: isGeneral ? general : (explained.fix ?? general) };
}

async function readLogin(sql: Sql, login: string): Promise<LoginState> {
  const [row] = await sql<{ canLogin: boolean; isExpired: boolean }[]>`
    select rolcanlogin as "canLogin", coalesce(rolvaliduntil < clock_timestamp(), false) as "isExpired"
    from pg_roles where rolname = ${login}`;
  if (row === undefined) return "missing";
  if (!row.canLogin) return "disabled";
  return row.isExpired ? "expired" : "exists";
}
