import { type ProjectionProblem, readProjectionHealth } from "../../operations/projection-problems.ts";
import type { DoctorContext, Probe } from "../context.ts";
import type { Finding } from "../finding.ts";
import { hasEventStore } from "./log.ts";

/** Projections that have stalled, and their dead letters. */
export const projectionsProbe: Probe = { area: "projections", find: findProjectionProblems };

const kinds: Readonly<Record<ProjectionProblem["kind"], Pick<Finding, "id" | "cause">>> = {
  "dead-letters": { id: "dead-letters", cause: "A projection could not handle some events and has set them aside." },
  rewound: { id: "checkpoint-ahead", cause: "A projection has read events that the log no longer has." },
  stalled: { id: "projection-stalled", cause: "Events wait for a projection that no process runs." },
  late: { id: "projection-late", cause: "Events wait for a projection, although a process runs it." },
  bypassed: { id: "projection-bypassed", cause: "Events were appended without the inline projection." },
};

async function findProjectionProblems({ server, limits }: DoctorContext): Promise<readonly Finding[]> {
  const { sql } = await server();
  if (!(await hasEventStore(sql))) return [];
  const { problems } = await readProjectionHealth(sql, limits);
  return problems.map(({ kind, text, fix }) => ({ ...kinds[kind], symptom: "readers", evidence: text, fix }));
}
