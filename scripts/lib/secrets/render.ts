import type { SecretData } from "./store.ts";

/** How a secret is shown. */
export interface RenderOptions {
  readonly format: "plain" | "env" | "spring";
  /** Whether passwords are printed. */
  readonly reveal: boolean;
}

/** One value of a secret, as it is shown. */
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
};

/** The four that Spring Boot takes a data source from. */
const springKeys = ["url", "username", "password", "driver-class-name"];

/** Renders a secret for people, a shell, or Spring; without `reveal` no password is in it. */
export function renderSecret(data: SecretData, { format, reveal }: RenderOptions): RenderedEntry[] {
  const shown = reveal ? data : masked(data);
  if (format === "env") {
    return pick(
      Object.entries(environmentNames),
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

/** A key that nobody knows may be a password as well: only what is known to be harmless is shown. */
function masked(data: SecretData): SecretData {
  const harmless = ["username", "url", "driver-class-name", "host", "port", "database"];
  const entries = Object.entries(data).map(([key, value]) => {
    if (key === "uri") return [key, value.replace(/:[^:@/]*@/, `:${mask}@`)];
    return [key, harmless.includes(key) ? value : mask];
  });
  return Object.fromEntries(entries);
}
