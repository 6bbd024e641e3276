import { loadConfig } from "../config.ts";
import { programEnvironment } from "../runtime.ts";

/**
 * Finds the folder of the project's stack. Of the environment, only the variables that name a folder count: none of it
 * can lead to another server.
 *
 * @param projectDir by default, the project of the working folder
 * @throws {ScriptError} `NO_PROJECT` (exit 2)
 */
export function locateStack(projectDir: string | undefined): string {
  const { CQRS_PROJECT_DIR, CQRS_STACK_DIR, CQRS_STACK_DIR_FILE } = programEnvironment();
  const environment = { CQRS_PROJECT_DIR, CQRS_STACK_DIR, CQRS_STACK_DIR_FILE };
  // The mode is a flag, so that settings of another server in the project's .env are not even checked.
  return loadConfig({ project: projectDir, mode: "embedded" }, { environment }).stackDir;
}
