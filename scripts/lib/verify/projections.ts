import type { ProjectionLag } from "../event-store/projection/progress.ts";
import { readProjectionHealth } from "../operations/projection-problems.ts";
import type { Sql } from "../postgres/driver.ts";
import { type Finding, noneOf, type Problem } from "./check.ts";
import type { Check, VerifyContext } from "./context.ts";

export const projectionChecks: readonly Check[] = [
  { id: "projections", title: "The projections keep up", run: checkProjections },
];

async function checkProjections({ sql, limits }: VerifyContext): Promise<Finding> {
  const { lags, problems } = await readProjectionHealth(sql, limits);
  return noneOf([...problems, ...(await findRetired(sql))], lags.map(describeLag).join("; ") || "there are none");
}

function describeLag({ name, version, status, lagEvents, deadLetters }: ProjectionLag): string {
  return `${name} ${version} (${status}): ${lagEvents} events behind, ${deadLetters} dead letters`;
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
