import type { Config } from "../../config.ts";
import { superuser } from "../../postgres/server/cluster.ts";
import type { StackState } from "../state.ts";
import { ComposeClient, type ComposeContainer } from "./client.ts";

const postgresPort = 5432;
const vaultPort = 8200;
/** Runs in the container, because the host has none of these files. */
const credentials =
  "cd /keys && cat postgres/password && echo && cat init/cqrs-init.role-id && echo && cat init/cqrs-init.secret-id";

/**
 * Completes the configuration with what only the containers know: the published ports, the superuser's password, and
 * the login for Vault. From the host, all scripts then use the containers like any external server.
 *
 * @returns the configuration, without a server if the stack is not running
 * @throws {ScriptError} `DOCKER` (exit 9)
 */
export async function readComposeSettings(
  config: Config,
  remembered: StackState | undefined,
  signal?: AbortSignal,
): Promise<Config> {
  const client = new ComposeClient(config, remembered, signal);
  const containers = await client.containers();
  const [postgres, vault] = ["postgres", "vault"].map((name) => running(containers, name));
  if (postgres === undefined || vault === undefined) return { ...config, externalServer: undefined };
  const { exitCode, stdout } = await client.compose("exec", "-T", "postgres", "sh", "-c", credentials);
  const [password = "", roleId = "", secretId = ""] = stdout.split("\n");
  if (exitCode !== 0 || secretId === "") return { ...config, externalServer: undefined };
  const [port, publishedVaultPort] = [publishedPort(postgres, postgresPort), publishedPort(vault, vaultPort)];
  return {
    ...config,
    externalServerProblems: [],
    localPort: port,
    externalServer: { host: "127.0.0.1", port, user: superuser, password, database: undefined, tls: "disable" },
    vault: {
      address: `http://127.0.0.1:${publishedVaultPort}`,
      token: undefined,
      tokenFile: undefined,
      namespace: undefined,
      caCertFile: undefined,
      roleId,
      secretId,
      secretIdFile: undefined,
    },
  };
}

function running(containers: readonly ComposeContainer[], service: string): ComposeContainer | undefined {
  return containers.find(({ Service, State }) => Service === service && State === "running");
}

function publishedPort({ Publishers }: ComposeContainer, target: number): number {
  return (
    Publishers?.find(({ TargetPort, PublishedPort }) => TargetPort === target && PublishedPort > 0)?.PublishedPort ??
    target
  );
}
