import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The files of the product: `sql/`, `infrastructure/`, `docker-compose.yml`. Never written to. */
export const assetsDir: string = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

/** The project that uses the product: its `.env`, and the base of relative paths in settings. In a clone, the clone. */
export const projectDir: string = assetsDir;
