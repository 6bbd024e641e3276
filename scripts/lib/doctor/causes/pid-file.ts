import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { runLine } from "../../cli/run-line.ts";
import { stopServer } from "../../postgres/server/life-cycle.ts";
import { findPostmaster, type Postmaster } from "../../postgres/server/postmaster.ts";
import { describeProcess } from "../../process.ts";
import type { Stack } from "../../stack/stack.ts";
import { bootstrapRepair, type DoctorContext } from "../context.ts";
import type { Finding } from "../finding.ts";
import { shortCommand } from "../listener.ts";

/** Finds a pid file whose server is gone (it was killed, or the machine stopped), and a server whose pid file is. */
export async function findPidFileProblems(context: DoctorContext, stack: Stack): Promise<Finding[]> {
  const { dataDir } = stack;
  const postmaster = await findPostmaster(dataDir);
  if (postmaster.state === "running") return postmaster.hasLostPidFile ? [removed(context, stack, postmaster)] : [];
  const file = join(dataDir, "postmaster.pid");
  const content = await readFile(file, "utf8").catch(() => undefined);
  if (content === undefined) return [];
  const evidence =
    postmaster.state === "recycled"
      ? `${file} names the pid ${postmaster.pid}, which now is ${shortCommand(describeProcess(postmaster.pid).command) || "a zombie"}`
      : `${file} names the pid ${content.split("\n")[0]}, which is not running`;
  return [
    {
      id: "pid-file-stale",
      symptom: "does-not-start",
      cause: "The server ended without a shutdown: it was killed, or the machine stopped.",
      evidence,
      fix: `Run ${runLine("bootstrap")}, which removes the file and starts the server. It recovers by itself.`,
      repair: bootstrapRepair(context),
    },
  ];
}

function removed(context: DoctorContext, { dataDir }: Stack, { pid }: Postmaster): Finding {
  const bootstrap = bootstrapRepair(context);
  return {
    id: "pid-file-removed",
    symptom: "does-not-start",
    cause: "The server is running, but its pid file was deleted. It stops within a minute.",
    evidence: `The process ${pid} serves ${dataDir}, whose postmaster.pid is missing or names another process.`,
    fix: `Run ${runLine("stop")} && ${runLine("bootstrap")}.`,
    repair: {
      description: `stops the server (pid ${pid}), which ends all sessions, and ${bootstrap.description}`,
      changesStack: true,
      run: async () => {
        await stopServer(dataDir, { timeoutMs: context.config.timeoutMs, signal: context.run.signal });
        await bootstrap.run();
      },
    },
  };
}
