import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** What the product brings: `sql/`, `infrastructure/`, `docker-compose.yml`. Never written to. */
export const assetsDir: string = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

/** Whose stack it is: `.env` and relative paths of settings start here. In a clone it is the clone itself. */
export const projectDir: string = assetsDir;
