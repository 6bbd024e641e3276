import { demandsTls } from "../server-url.ts";
import type { SecretData } from "./store.ts";

/** How to show a secret. */
export interface RenderOptions {
  readonly format: "plain" | "env" | "spring";
  /** Shows passwords in clear text. */
  readonly reveal: boolean;
}

/** One rendered value of a secret. */
export interface RenderedEntry {
  readonly key: string;
  readonly value: string;
  readonly line: string;
}

const mask = "****";

const environmentNames: Readonly<Record<string, string>> = {
  DATABASE_URL: "uri",
  PGHOST: "host",
  PGPORT: "port",
  PGUSER: "username",
  PGPASSWORD: "password",
  PGDATABASE: "database",
  PGSSLMODE: "sslmode",
  PGSSLROOTCERT: "sslrootcert",
};

/** The four properties of a Spring Boot data source. */
const springKeys = ["url", "username", "password", "driver-class-name"];

/** Renders a secret for people, a shell, or Spring; masks passwords unless `reveal` is set. */
export function renderSecret(data: SecretData, { format, reveal }: RenderOptions): RenderedEntry[] {
  const shown = reveal ? data : masked(data);
  if (format === "env") {
    return pick(
      Object.entries(environmentNames).filter(([name]) => name !== "PGSSLMODE" || demandsTls(data["sslmode"])),
      shown,
      (key, value) => `export ${key}='${value.replaceAll("'", "'\\''")}'`,
    );
  }
  if (format === "spring") {
    const names = springKeys.map((key) => [`spring.datasource.${key}`, key] as const);
    return pick(names, shown, (key, value) => `${key}=${value.replaceAll("\\", "\\\\")}`);
  }
  return pick(
    Object.keys(shown).map((key) => [key, key] as const),
    shown,
    (key, value) => `${key}=${value}`,
  );
}

function pick(
  names: readonly (readonly [name: string, key: string])[],
  data: SecretData,
  line: (name: string, value: string) => string,
): RenderedEntry[] {
  return names.flatMap(([name, key]) => {
    const value = data[key];
    return value === undefined ? [] : [{ key: name, value, line: line(name, value) }];
  });
}

/** An unknown key may be a password, so only keys known to be harmless are shown. */
function masked(data: SecretData): SecretData {
  const harmless = ["username", "url", "driver-class-name", "host", "port", "database", "sslmode", "sslrootcert"];
  const entries = Object.entries(data).map(([key, value]) => {
    if (key === "uri") return [key, value.replace(/:[^:@/]*@/, `:${mask}@`)];
    return [key, harmless.includes(key) ? value : mask];
  });
  return Object.fromEntries(entries);
}
