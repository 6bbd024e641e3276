import { formatSeconds } from "../cli/format.ts";
import { runLine } from "../cli/run-line.ts";
import { type ProjectionLag, readProjectionLag } from "../event-store/projection/progress.ts";
import type { Sql } from "../postgres/driver.ts";
import { type Finding, noneOf, type Problem } from "./check.ts";
import type { Check, VerifyContext, VerifyLimits } from "./context.ts";

export const projectionChecks: readonly Check[] = [
  { id: "projections", title: "The projections keep up", run: checkProjections },
];

async function checkProjections({ sql, limits }: VerifyContext): Promise<Finding> {
  const lags = await readProjectionLag({ sql });
  const problems = [...lags.flatMap((lag) => findProblems(lag, limits)), ...(await findRetired(sql))];
  const evidence = lags.map(describeLag).join("; ") || "there are none";
  return noneOf(problems, evidence);
}

function describeLag({ name, version, status, lagEvents, deadLetters }: ProjectionLag): string {
  return `${name} ${version} (${status}): ${lagEvents} events behind, ${deadLetters} dead letters`;
}

function findProblems(lag: ProjectionLag, limits: VerifyLimits): Problem[] {
  const name = `version ${lag.version} of ${lag.name}`;
  const problems: Problem[] = [];
  if (lag.deadLetters > 0) {
    const fix = `Fix what the errors in read_model.dead_letter report, then run ${runLine("projections replay")}.`;
    problems.push({ text: `${name} has ${lag.deadLetters} dead letters`, fix });
  }
  if (lag.lagEvents < 0) {
    const fix = `Raise its version and run ${runLine("projections rebuild")}.`;
    return [...problems, { text: `${name} is ahead of the log, which was rewound`, fix }];
  }
  return [...problems, ...findDelay(lag, name, limits)];
}

/** A version that is being built reads events of any age. */
function findDelay(lag: ProjectionLag, name: string, limits: VerifyLimits): Problem[] {
  const isInline = lag.owner === "inline";
  const isRunning = lag.owner !== null && (isInline || (lag.expiresAt ?? new Date(0)) > new Date());
  const limit = isRunning ? limits.maxLagSeconds : limits.maxStalledSeconds;
  if (lag.lagEvents === 0 || lag.lagSeconds < limit || (isRunning && lag.status === "building")) return [];
  const delay = `${lag.lagEvents} events behind, the oldest for ${formatSeconds(lag.lagSeconds)}`;
  if (isInline) {
    const fix = "List it in inlineProjections of every store, or run it as an ordinary projection.";
    return [{ text: `${name} is bypassed by appends of stores that do not list it: ${delay}`, fix }];
  }
  if (isRunning) return [{ text: `${name} is running, and ${delay}`, fix: "See what its run reports." }];
  const fix = `Run ${runLine("projections run")}, or remove it (${runLine(`projections remove ${lag.name}`)}).`;
  return [{ text: `${name} is stalled, because no process runs it: ${delay}`, fix }];
}

/** Code of a retired version projects nothing, and reports no error after that. */
async function findRetired(sql: Sql): Promise<Problem[]> {
  const rows = await sql<{ name: string; version: number; owner: string }[]>`
    select name, version, owner from read_model.projection_version
    where status = 'retired' and owner is not null and expires_at > clock_timestamp()
    order by name, version`;
  return rows.map(({ name, version, owner }) => ({
    text: `version ${version} of ${name} is retired, but ${owner} (host, process and run) still runs it`,
    fix: "Stop that process, and deploy the module with the newer version.",
  }));
}
