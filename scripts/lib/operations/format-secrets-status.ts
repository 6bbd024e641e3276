import { formatTable } from "../cli/format.ts";
import type { SecretsStatus } from "../stack/secrets.ts";

export function formatSecretsStatus({ place, location, isReady, versions }: SecretsStatus): string {
  const rows = Object.entries(versions ?? {}).map(([path, version]) => {
    return [path, version === 0 ? "none" : `version ${version}`] as const;
  });
  return formatTable([["place", place], ["location", location], ["ready", isReady ? "yes" : "no"], ...rows]);
}
