import { readEpochProblems } from "../../operations/log-problems.ts";
import type { Sql } from "../../postgres/driver.ts";
import type { DoctorContext, Probe } from "../context.ts";
import type { Finding } from "../finding.ts";

/** Whether the log continues where its readers think it does. */
export const logProbe: Probe = { area: "log", find: findLogProblems };

/** The area of the schema reports that its files are pending. */
export async function hasEventStore(sql: Sql): Promise<boolean> {
  const [row] = await sql`select where to_regclass('read_model.projection_lag') is not null`;
  return row !== undefined;
}

async function findLogProblems({ server }: DoctorContext): Promise<readonly Finding[]> {
  const { sql } = await server();
  if (!(await hasEventStore(sql))) return [];
  return [...(await findUnreportedEpoch(sql)), ...(await findRewoundSequence(sql))];
}

async function findUnreportedEpoch(sql: Sql): Promise<Finding[]> {
  const problems = await readEpochProblems(sql);
  if (problems.length === 0) return [];
  return [
    {
      id: "epoch-unreported",
      symptom: "data-at-risk",
      cause: "The log continues in another place: the server was promoted, or this is a copy, or it was moved.",
      evidence: problems.join("\n"),
      fix: "Stop the writers, then run select event_store.begin_epoch('<promoted, copied or moved, and from where>').",
    },
  ];
}

/** The next append would draw a position that readers have passed. */
async function findRewoundSequence(sql: Sql): Promise<Finding[]> {
  const [row] = await sql<{ drawn: string; last: string }[]>`
    select drawn::text, last::text
    from (
      select event_store.last_drawn_position() as drawn, (select max(global_position) from event_store.domain_event) as last
    ) as positions
    where last > drawn`;
  if (row === undefined) return [];
  return [
    {
      id: "positions-rewound",
      symptom: "data-at-risk",
      cause: "The sequence of positions was set back, so new events would be stored behind readers.",
      evidence: `The last position drawn is ${row.drawn}, but an event has ${row.last}.`,
      fix: "Stop the writers, then run select event_store.begin_epoch('the sequence was set back').",
    },
  ];
}
