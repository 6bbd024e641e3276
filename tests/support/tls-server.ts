import { chown, readFile, stat, writeFile } from "node:fs/promises";
import { connect as connectSocket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import { assetsDir } from "../../scripts/lib/paths.ts";
import { openConnection } from "../../scripts/lib/postgres/connect.ts";
import type { ConnectionTarget } from "../../scripts/lib/postgres/target.ts";
import { encrypt } from "../../scripts/lib/postgres/tls.ts";
import type { TestStack } from "./stack.ts";

/** A certificate of `tests/support/certificates`. */
export type Certificate = "good" | "other-host" | "expired" | "self-signed";

/** @returns the path of a certificate, or of that of the authority */
export function certificateFile(name: Certificate | "authority"): string {
  return join(assetsDir, `tests/support/certificates/${name}.pem`);
}

/** Makes a stack's server present a certificate, or use no TLS. Existing sessions keep theirs. */
export async function presentCertificate(stack: TestStack, name: Certificate | "none"): Promise<void> {
  const file = join(stack.dataDir, "test-server.pem");
  if (name !== "none") {
    await writeFile(file, await readFile(certificateFile(name)), { mode: 0o600 });
    const { uid, gid } = await stat(stack.dataDir);
    await chown(file, uid, gid);
  }
  const target = { ...(await stack.administrator()), tls: "prefer" as const };
  await using admin = openConnection(target);
  await admin.sql.unsafe(`alter system set ssl = ${name === "none" ? "off" : "on"}`);
  for (const setting of ["ssl_cert_file", "ssl_key_file"])
    await admin.sql.unsafe(`alter system set ${setting} = '${file}'`);
  await admin.sql`select pg_reload_conf()`;
  while ((await presentedName(target)) !== name) await sleep(20);
}

/** Makes a stack's server refuse logins without TLS. */
export async function requireTls(stack: TestStack): Promise<void> {
  const file = join(stack.dataDir, "pg_hba.conf");
  await writeFile(file, (await readFile(file, "utf8")).replace(/^host\b/gm, "hostssl"));
  const target = await stack.administrator();
  await using admin = openConnection({ ...target, tls: "require" });
  await admin.sql`select pg_reload_conf()`;
  const isRefused = async () => {
    await using plain = openConnection(target);
    return await plain.sql`select 1`.then(
      () => false,
      () => true,
    );
  };
  while (!(await isRefused())) await sleep(20);
}

async function presentedName(target: ConnectionTarget): Promise<string> {
  const plain = connectSocket(target.port, target.host);
  await new Promise((resolve) => plain.once("connect", resolve));
  const socket = await encrypt(plain, target);
  const name = socket === plain ? "none" : (socket as TLSSocket).getPeerCertificate().subject.CN;
  socket.on("error", () => {});
  socket.destroy();
  return `${name}`;
}
