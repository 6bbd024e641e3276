import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { runLine } from "../cli/run-line.ts";
import { groupRoles } from "../postgres/logins/roles.ts";
import type { Violation } from "../schema/invariants.ts";
import { schemaDir } from "../schema/source.ts";
import { type Finding, failed, lockedElsewhere, noProblems, ok, skipped } from "./check.ts";
import type { Check, VerifyContext } from "./context.ts";
import { combine, judge, type ProbeReport, refusedChange, tryStatements } from "./probes.ts";

export const logChecks: readonly Check[] = [
  { id: "immutability", title: "Nobody can change or delete events", run: checkImmutability },
  { id: "invariants", title: "The invariants hold (sql/verify)", run: checkInvariants },
  { id: "epoch", title: "The log continues on this server, and positions grow", run: checkEpoch },
];

const immutable = ["event_store.domain_event", "event_store.redaction", "event_store.log_epoch"];

/** None of them changes a row even if it is possible: the triggers fire once per statement. */
const changes = [
  ...immutable.map((table) => `delete from ${table} where false`),
  "update event_store.domain_event set event_type = event_type where false",
  "update event_store.redaction set reason = reason where false",
  "update event_store.log_epoch set reason = reason where false",
];

/**
 * Tries what the owner could do. The application's login is refused earlier (`least-privilege`).
 *
 * `truncate` by the owner is not tried: before the trigger could refuse it, it would wait for all readers, hold back
 * everyone else meanwhile, and end queries on standbys. It has the trigger and function that have refused the delete.
 */
async function checkImmutability(context: VerifyContext): Promise<Finding> {
  if (context.isStandby) return skipped("a standby refuses every change");
  const reports = await tryChanges(context);
  const { tried, problems, isInconclusive } = combine(reports);
  const all = [...problems, ...(await findTriggerProblems(context)), ...(await findTruncatable(context))];
  const who = context.administrator.isSuperuser ? `${groupRoles.owner}, and as a replica would` : groupRoles.owner;
  const evidence = `${tried} changes refused as ${who}; truncate has the same trigger; ${immutable.join(", ")}`;
  if (all.length > 0) {
    const fix = `Run ${runLine("schema status --drift")} and undo what changed a trigger, or restore an archive.`;
    return failed(`${tried} changes tried as ${who}`, all.join("\n"), fix);
  }
  return isInconclusive ? lockedElsewhere : ok(evidence);
}

async function tryChanges({ sql, administrator }: VerifyContext): Promise<ProbeReport[]> {
  const role = groupRoles.owner;
  const reports = [judge(await tryStatements(sql, changes, { role }), refusedChange, role)];
  if (!administrator.isSuperuser) return reports;
  const asReplica = await tryStatements(sql, changes, { asReplica: true });
  return [...reports, judge(asReplica, refusedChange, "a superuser, as a replica")];
}

/** Each file of sql/routines/triggers has the name of a trigger. */
async function findTriggerProblems({ sql }: VerifyContext): Promise<string[]> {
  const files = await readdir(join(schemaDir, "routines/triggers"));
  const wanted = files.map((name) => name.replace(/\.sql$/, "")).toSorted();
  const rows = await sql<{ name: string }[]>`
    select concat_ws('.', relnamespace::regnamespace, tgname) as name
    from pg_trigger join pg_class on pg_class.oid = tgrelid where tgenabled = 'A' and not tgisinternal`;
  const active = new Set(rows.map(({ name }) => name));
  return wanted
    .filter((name) => !active.has(name))
    .map((name) => `the trigger ${name} is missing or not always enabled`);
}

/** Bits of `tgtype`: 2 before, 32 truncate. */
async function findTruncatable({ sql }: VerifyContext): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    select name from unnest(string_to_array(${immutable.join()}, ',')) as name
    where not exists (
      select from pg_trigger
      where tgrelid = to_regclass(name) and tgfoid = to_regprocedure('event_store.refuse_change()')
        and tgenabled = 'A' and tgqual is null and tgtype & 34 = 34
    )`;
  return rows.map(({ name }) => `no trigger refuses to truncate ${name}`);
}

/** Reported by the check of the epoch. */
const ofEpoch = ["event_store.epoch_is_of_this_server", "event_store.sequence_is_past_all_positions"];

async function checkInvariants({ violations }: VerifyContext): Promise<Finding> {
  const names = (await readdir(join(schemaDir, "verify"))).filter((name) => name.endsWith(".sql"));
  const found = (await violations()).filter(({ invariant }) => !ofEpoch.includes(invariant));
  const evidence = `${names.length - ofEpoch.length} queries over the whole log`;
  return noProblems(
    found.map(describeViolation),
    evidence,
    "Read sql/verify/<name>.sql, which explains what must hold.",
  );
}

function describeViolation({ invariant, rows }: Violation): string {
  const print = (_key: string, value: unknown) => (typeof value === "bigint" ? `${value}` : value);
  return `${invariant}: ${JSON.stringify(rows, print)}`;
}

interface EpochRow {
  readonly number: number;
  readonly reason: string;
  readonly drawn: bigint;
  readonly isSequenceAltered: boolean;
}

async function checkEpoch({ sql, violations }: VerifyContext): Promise<Finding> {
  const [row] = await sql<EpochRow[]>`
    select epoch_number as number, reason, event_store.last_drawn_position() as drawn,
      (select seqcache <> 1 or seqincrement <> 1 or seqcycle from pg_sequence
       where seqrelid = 'event_store.domain_event_global_position'::regclass) as "isSequenceAltered"
    from event_store.log_epoch order by epoch_number desc limit 1`;
  const found = (await violations()).filter(({ invariant }) => ofEpoch.includes(invariant)).map(describeViolation);
  const problems = [
    ...found,
    ...(row === undefined ? ["event_store.log_epoch is empty"] : []),
    ...(row?.isSequenceAltered ? ["the sequence of positions was altered: readers could lose events"] : []),
  ];
  const evidence = `epoch ${row?.number} (${row?.reason}), last position drawn ${row?.drawn}`;
  const fix = "Stop the writers, then run select event_store.begin_epoch('<why the log was rewound>').";
  return noProblems(problems, evidence, fix);
}
