import { existsSync } from "node:fs";
import { dirname, join, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

const thisFile = fileURLToPath(import.meta.url);

/** The files of the product: `sql/`, `infrastructure/`, `docker-compose.yml`. Never written to. */
export const assetsDir: string = resolve(dirname(thisFile), "../..");

/** Whether this code runs in the image of the init container, which leaves this mark. */
export function isInImage(): boolean {
  return existsSync(join(assetsDir, ".image"));
}

/** Whether this code runs in a clone of the repository, and not from the built package or below node_modules. */
export const isClone: boolean = thisFile.endsWith(".ts") && !thisFile.includes(`${sep}node_modules${sep}`);
