import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { mustRun, run } from "../support/compose.ts";
import { cacheFolder } from "./engine.ts";

/** An image of a stack. */
export interface ChosenImage {
  /** The part before `_IMAGE`: `postgres`. */
  readonly name: string;
  readonly image: string;
  /** Whether it is the official image, which users get. */
  readonly isReal: boolean;
}

const official = { postgres: "postgres:16-alpine", vault: "hashicorp/vault:1.21", bun: "oven/bun:1.4.5-alpine" };
const standIns = {
  postgres: "cqrs-standin/postgres:16",
  vault: "cqrs-standin/vault:1.21",
  bun: "cqrs-standin/bun:1.4",
};

/** Uses the official images that are present or can be pulled, and builds stand-ins for the others. */
export async function chooseImages(): Promise<readonly ChosenImage[]> {
  const names = Object.keys(official) as (keyof typeof official)[];
  const real = await Promise.all(names.map((name) => isAvailable(official[name])));
  if (!real.every(Boolean)) await buildStandIns();
  return names.map((name, index) => {
    const isReal = real[index] === true;
    return { name, isReal, image: isReal ? official[name] : standIns[name] };
  });
}

async function isAvailable(image: string): Promise<boolean> {
  if ((await run("docker", ["image", "inspect", image])).exitCode === 0) return true;
  return (await run("timeout", ["120", "docker", "pull", "-q", image])).exitCode === 0;
}

async function buildStandIns(): Promise<void> {
  const vault = process.env["CQRS_TEST_VAULT"] || join(cacheFolder(), "vault-1.21.1/vault");
  if (!existsSync(vault))
    throw new Error(`There is no Vault at ${vault}. Build one: bash tests/support/build-vault.sh`);
  const words = [join(assetsDir, "tests/compose/stand-ins/build.sh"), assetsDir, vault, process.execPath];
  mustRun("build.sh", await run("bash", words));
}
