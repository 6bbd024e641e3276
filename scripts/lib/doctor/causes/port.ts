import { runLine } from "../../cli/run-line.ts";
import { readConfiguredPort } from "../../postgres/server/cluster.ts";
import { identifyListener, isPortFree } from "../../postgres/server/port.ts";
import { findPostmaster } from "../../postgres/server/postmaster.ts";
import type { DoctorContext, Probe } from "../context.ts";
import type { Finding } from "../finding.ts";
import { describeServer, findListeners, type Listener, shortCommand } from "../listener.ts";

/** The port of a server that is not running. */
export const portProbe: Probe = { area: "port", find: findPortProblems };

async function findPortProblems(context: DoctorContext): Promise<readonly Finding[]> {
  const stack = await context.stack();
  if (stack.mode !== "embedded" || (await findPostmaster(stack.dataDir)).state === "running") return [];
  const port = context.config.port ?? stack.remembered?.port ?? (await readConfiguredPort(stack.dataDir));
  if (port === undefined || (await isPortFree(port))) return [];
  return [await portTaken(port, await findListeners(port, context.signal))];
}

async function portTaken(port: number, listeners: readonly Listener[]): Promise<Finding> {
  const move = `move this stack with ${runLine("bootstrap")} --port <number>`;
  const finding = { id: "port-taken", symptom: "does-not-start" } as const;
  const [listener, ...others] = listeners;
  if (listener === undefined) {
    const what = await identifyListener(port);
    const evidence = "Its process belongs to another user, or lsof, ss and fuser are not installed.";
    const cause = `Port ${port} is in use by ${what}.`;
    return { ...finding, cause, evidence, fix: `Run lsof -i :${port} as root and stop it, or ${move}.` };
  }
  const evidence = listeners.map(({ pid, command }) => `pid ${pid}: ${shortCommand(command)}`).join("\n");
  if (listeners.every(({ command }) => /docker-proxy\b/.test(command))) {
    const fix = `Run docker ps --filter publish=${port}, and docker stop <name>, or ${move}.`;
    return { ...finding, cause: `Port ${port} is in use by a Docker container.`, evidence, fix };
  }
  // It may be one program with several processes, or several programs.
  if (others.length > 0) {
    const cause = `Port ${port} is in use by ${listeners.length} processes.`;
    return { ...finding, cause, evidence, fix: `Stop their program, or ${move}.` };
  }
  const server = describeServer(listener) ?? (await identifyListener(port));
  const cause = `Port ${port} is in use by ${server}.`;
  return { ...finding, cause, evidence, fix: `Stop it (kill ${listener.pid}), or ${move}.` };
}
