import process from "node:process";
import { openConnection } from "../postgres/connect.ts";
import type { Reservation } from "../postgres/driver.ts";
import { explainConnectionError } from "../postgres/explain.ts";
import { connectionFailure, isFromServer } from "../postgres/failure.ts";
import type { SessionTarget } from "../postgres/target.ts";
import { formatResult, formatSqlError } from "./format.ts";
import { hasCopyOfStream } from "./statements.ts";

/** Once the server has begun such a COPY, only the end of the session would end it. */
const onlyPsqlCopies =
  "ERROR:  COPY from stdin or to stdout needs psql\nHINT:  Install psql (postgresql-client), or use select and insert.\n";

/** One session, in which SQL is run and its results are printed. */
export interface SqlSession {
  readonly database: string;
  /**
   * Runs SQL and prints what the server answers.
   *
   * @returns false if it failed
   * @throws if the session has ended
   */
  run(text: string): Promise<boolean>;
  /** @returns false if nothing is running */
  cancel(): boolean;
}

/** Does work in one session of its own. */
export async function withSqlSession(
  target: SessionTarget,
  work: (session: SqlSession) => Promise<number>,
): Promise<number> {
  const onNotice = (text: string) => void process.stderr.write(`${text}\n`);
  await using connection = openConnection(target, { applicationName: "cqrs-postgres psql", onNotice });
  try {
    const reservation = await connection.sql.reserve();
    try {
      return await work(makeSession(reservation, target.database));
    } finally {
      reservation.release();
    }
  } catch (error) {
    throw explainConnectionError(error, target);
  }
}

function makeSession(sql: Reservation, database: string): SqlSession {
  let running: { cancel(): unknown } | undefined;
  return {
    database,
    async run(text) {
      if (await hasCopyOfStream(text)) return refuse(onlyPsqlCopies);
      const statement = sql.unsafe(text).raw();
      running = statement;
      try {
        process.stdout.write(formatResult(await statement));
        return true;
      } catch (error) {
        if (hasEnded(error)) throw error;
        return refuse(formatSqlError(error as Error, text));
      } finally {
        running = undefined;
      }
    },
    cancel() {
      running?.cancel();
      return running !== undefined;
    },
  };
}

function refuse(message: string): boolean {
  process.stderr.write(message);
  return false;
}

/** A statement can fail with a code of a lost connection, too: what counts is whether the server went on. */
function hasEnded(error: unknown): boolean {
  const { severity } = error as { readonly severity?: string };
  return isFromServer(error) ? severity === "FATAL" || severity === "PANIC" : connectionFailure(error) !== undefined;
}
