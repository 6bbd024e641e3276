import { runLine } from "../../cli/run-line.ts";
import { openConnection } from "../../postgres/connect.ts";
import type { Sql } from "../../postgres/driver.ts";
import { explainConnectionError } from "../../postgres/explain.ts";
import { connectionFailure, errorCode, messageWithCode } from "../../postgres/failure.ts";
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
  const target = await applicationTarget(stack);
  try {
    await checkOwnServer(stack, target);
  } catch (error) {
    if (errorCode(error) !== "OTHER_SERVER") throw error;
    return [wrongAddress(context, (error as Error).message)];
  }
  const error = await tryLogin(stack, context);
  if (error === undefined) return [];
  if (connectionFailure(error) !== "wrong-password") throw explainConnectionError(error, target);
  return [await passwordRefused(context, sql, { login: target.user, error: error as Error })];
}

/** @returns why the login failed */
async function tryLogin(stack: Stack, { run, limits }: DoctorContext): Promise<unknown> {
  const target = { ...(await applicationTarget(stack)), database: stack.database };
  const options = {
    applicationName: "cqrs-postgres doctor",
    connectTimeoutSeconds: limits.connectTimeoutSeconds,
    signal: run.signal,
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

async function passwordRefused(
  context: DoctorContext,
  sql: Sql,
  { login, error }: { readonly login: string; readonly error: Error },
): Promise<Finding> {
  return {
    id: "password-refused",
    symptom: "secrets",
    cause: "The server refuses the password in the secret store: its data directory or volume keeps another one.",
    evidence: `${messageWithCode(error)}; ${await describeLogin(sql, login)}`,
    fix: `Run ${runLine("bootstrap")}, which sets the password of the store on the server.`,
    repair: bootstrapRepair(context),
  };
}

async function describeLogin(sql: Sql, login: string): Promise<string> {
  const [row] = await sql<{ canLogin: boolean; isExpired: boolean }[]>`
    select rolcanlogin as "canLogin", coalesce(rolvaliduntil < clock_timestamp(), false) as "isExpired"
    from pg_roles where rolname = ${login}`;
  if (row === undefined) return `the server has no login ${login}`;
  if (!row.canLogin) return `${login} may not log in`;
  return row.isExpired ? `the login ${login} has expired` : `the login ${login} exists`;
}
