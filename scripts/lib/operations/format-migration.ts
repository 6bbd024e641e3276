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
  for (const { folder, outcome } of left) lines.push(`  ${folder}${outcome === "different" ? " (other values)" : ""}`);
  if (left.length > different.length)
    lines.push(`Run ${runLine("secrets migrate")} --delete-files to delete those that Vault has.`);
  if (different.length > 0) lines.push("Delete those with other values yourself, unless you still need them.");
  return lines.join("\n");
}
