import type { Sql } from "../postgres/driver.ts";
import { quoteIdentifier } from "../postgres/quote.ts";
import { inRolledBackTransaction } from "../postgres/transaction.ts";

/** What PostgreSQL answers to a statement: the SQLSTATE of its error, or {@link allowed}. */
export type ProbeOutcome = string;

export const allowed = "00000";
export const refusedPrivilege = "42501";
export const refusedChange = "UE006";

/** Says nothing about the statement: a lock that was not free, or a server that is read-only. */
const inconclusive = ["55P03", "25006"];

/** As whom to try statements. */
export interface ProbeOptions {
  /** The role to switch to; by default, the login's own. */
  readonly role?: string;
  /** Whether ordinary triggers are disabled, as on a replica; for superusers. */
  readonly asReplica?: boolean;
}

/**
 * Runs each statement inside a function's exception handler, so that it is undone whether it succeeds or not, and its
 * error does not appear in the server's log.
 */
const tryEach = `do $try$
declare
  v_statement text;
  v_outcomes jsonb := '[]';
begin
  for v_statement in select value from jsonb_array_elements_text(current_setting('cqrs.probes')::jsonb) loop
    begin
      execute v_statement;
      raise exception using errcode = 'UE000';
    exception when others then
      v_outcomes := v_outcomes || jsonb_build_array(jsonb_build_array(v_statement, sqlstate));
    end;
  end loop;
  perform set_config('cqrs.outcomes', v_outcomes::text, true);
end
$try$`;

const noError = "UE000";

/**
 * Tries statements, one by one, in a transaction that is rolled back. None of them may draw a position of the log, notify
 * anyone or take a lock that appends wait for.
 *
 * @returns the outcome of each statement
 */
export async function tryStatements(
  sql: Sql,
  statements: readonly string[],
  { role, asReplica }: ProbeOptions = {},
): Promise<ReadonlyMap<string, ProbeOutcome>> {
  const settings = [
    "set transaction read write",
    "set local lock_timeout = '50ms'",
    ...(asReplica ? ["set local session_replication_role = replica"] : []),
    ...(role === undefined ? [] : [`set local role ${quoteIdentifier(role)}`]),
  ];
  return await inRolledBackTransaction(sql, async (tx) => {
    await tx.unsafe(settings.join("; ")).simple();
    await tx`select pg_catalog.set_config('cqrs.probes', ${JSON.stringify(statements)}, true)`;
    await tx.unsafe(tryEach).simple();
    const [row] = await tx<{ outcomes: string }[]>`select pg_catalog.current_setting('cqrs.outcomes') as outcomes`;
    const outcomes = JSON.parse(row?.outcomes ?? "[]") as readonly (readonly [string, string])[];
    return new Map(outcomes.map(([statement, state]) => [statement, state === noError ? allowed : state]));
  });
}

/** Statements whose outcome is not the expected one. */
export interface ProbeReport {
  readonly tried: number;
  readonly problems: readonly string[];
  /** Whether a statement could not be tried, because a lock was not free. */
  readonly isInconclusive: boolean;
}

/** @param who `cqrs_user`, for the problems */
export function judge(outcomes: ReadonlyMap<string, ProbeOutcome>, expected: ProbeOutcome, who: string): ProbeReport {
  const entries = [...outcomes];
  const unclear = entries.filter(([, outcome]) => inconclusive.includes(outcome));
  const wrong = entries.filter(([, outcome]) => outcome !== expected && !inconclusive.includes(outcome));
  return {
    tried: entries.length - unclear.length,
    problems: wrong.map(([statement, outcome]) => `${who}: ${statement}: ${describeOutcome(outcome)}`),
    isInconclusive: unclear.length > 0,
  };
}

function describeOutcome(outcome: ProbeOutcome): string {
  return outcome === allowed ? "is allowed" : `fails with ${outcome}`;
}

/** @returns the sum of several reports */
export function combine(reports: readonly ProbeReport[]): ProbeReport {
  return {
    tried: reports.reduce((sum, { tried }) => sum + tried, 0),
    problems: reports.flatMap(({ problems }) => problems),
    isInconclusive: reports.some(({ isInconclusive }) => isInconclusive),
  };
}
