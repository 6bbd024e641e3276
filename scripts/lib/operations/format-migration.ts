import { runLine } from "../cli/run-line.ts";
import type { MigratedSecret } from "../stack/secrets.ts";

/** Says what was copied to Vault, and which files still contain it. */
export function formatMigration(migrated: readonly MigratedSecret[]): string {
  const lines = migrated.map(({ path, outcome }) => `${path}: ${outcome}`);
  const different = migrated.filter(({ outcome }) => outcome === "different");
  if (different.length > 0)
    lines.push(`Vault's values were kept. Run ${runLine("bootstrap")} to apply them to PostgreSQL.`);
  const left = migrated.filter(({ folder }) => folder !== null);
  if (left.length === 0) return lines.join("\n");
  lines.push("These files still contain secrets in plain text:");
  for (const secret of left) lines.push(`  ${secret.folder}${describeRest(secret)}`);
  if (left.some((secret) => describeRest(secret) === ""))
    lines.push(`Run ${runLine("secrets migrate")} --delete-files to delete those that Vault has.`);
  if (different.length > 0) lines.push("Delete those with other values yourself, unless you still need them.");
  if (left.some(({ earlierKeys }) => earlierKeys > 0))
    lines.push("Keep the earlier keys as long as you keep archives that were encrypted with them: Vault has only one.");
  return lines.join("\n");
}

/** What the files have and Vault does not. */
function describeRest({ outcome, earlierKeys }: MigratedSecret): string {
  if (outcome === "different") return " (other values)";
  return earlierKeys > 0 ? " (earlier keys of archives)" : "";
}
