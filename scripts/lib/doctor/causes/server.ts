import { runLine } from "../../cli/run-line.ts";
import { errorCode } from "../../postgres/failure.ts";
import { bootstrapRepair, type DoctorContext, type Probe } from "../context.ts";
import type { Finding } from "../finding.ts";

/** Whether the server answers. */
export const serverProbe: Probe = { area: "server", find: findServerProblems };

async function findServerProblems(context: DoctorContext): Promise<readonly Finding[]> {
  try {
    await context.server();
    return [];
  } catch (error) {
    if (errorCode(error) !== "NOT_RUNNING") throw error;
    return [serverStopped(context, (error as Error).message)];
  }
}

function serverStopped(context: DoctorContext, evidence: string): Finding {
  return {
    id: "server-stopped",
    symptom: "does-not-start",
    cause: "The server is not running.",
    evidence,
    fix: `Run ${runLine("bootstrap")}, which starts it.`,
    repair: bootstrapRepair(context),
  };
}
