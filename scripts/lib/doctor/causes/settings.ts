import { runLine } from "../../cli/run-line.ts";
import { readCommitProblems } from "../../operations/log-problems.ts";
import { describeOtherServer } from "../../stack/external.ts";
import type { DoctorContext, Probe } from "../context.ts";
import type { Finding } from "../finding.ts";

/** Which server it is, and settings that put data at risk. */
export const settingsProbe: Probe = { area: "settings", find: findSettingProblems };

interface Facts {
  readonly isStandby: boolean;
  readonly offersTls: boolean;
  readonly isEncrypted: boolean;
}

async function findSettingProblems(context: DoctorContext): Promise<readonly Finding[]> {
  const { sql } = await context.server();
  const stack = await context.stack();
  const other = await describeOtherServer(stack, sql);
  const commit = await readCommitProblems(sql);
  const [facts] = await sql<Facts[]>`
    select pg_is_in_recovery() as "isStandby", current_setting('ssl') = 'on' as "offersTls",
      exists (select from pg_stat_ssl where pid = pg_backend_pid() and ssl) as "isEncrypted"`;
  return [
    ...(other === undefined ? [] : [otherServer(other)]),
    ...(facts?.isStandby ? [standby()] : []),
    ...(commit.length === 0 ? [] : [commitOff(commit)]),
    ...(stack.mode === "external" && facts?.offersTls && !facts.isEncrypted ? [tlsUnused()] : []),
  ];
}

function otherServer(evidence: string): Finding {
  return {
    id: "other-server",
    symptom: "data-at-risk",
    cause: "This is another server than the one that the stack remembers.",
    evidence,
    fix: `Correct DATABASE_URL or PGHOST and PGPORT, or run ${runLine("bootstrap")}, which makes it the stack's.`,
  };
}

function standby(): Finding {
  return {
    id: "standby",
    symptom: "cannot-connect",
    cause: "The server is a standby, which accepts no appends.",
    evidence: "pg_is_in_recovery() is true",
    fix:
      "Connect to the primary. If it is lost, run select pg_promote(), " +
      "then select event_store.begin_epoch('promoted') before writers are let in.",
  };
}

function commitOff(problems: readonly string[]): Finding {
  return {
    id: "synchronous-commit-off",
    symptom: "data-at-risk",
    cause: "The server confirms commits before they are on disk, so a crash may take back events that were read.",
    evidence: problems.join("\n"),
    fix: "Run alter system, alter database or alter role … reset synchronous_commit, then select pg_reload_conf().",
  };
}

function tlsUnused(): Finding {
  return {
    id: "tls-unused",
    symptom: "data-at-risk",
    cause: "The server offers TLS, but the connection is not encrypted.",
    evidence: "ssl is on, and pg_stat_ssl shows this session without encryption",
    fix: `Set sslmode=require, or better verify-full (DATABASE_URL or PGSSLMODE), then run ${runLine("bootstrap")}.`,
  };
}
