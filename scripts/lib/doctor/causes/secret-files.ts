import type { Stats } from "node:fs";
import { chmod, chown, lstat, readdir } from "node:fs/promises";
import { join, relative } from "node:path";
import process from "node:process";
import { localVaultFiles } from "../../stack/local-vault.ts";
import type { DoctorContext, Probe } from "../context.ts";
import type { Finding } from "../finding.ts";

/** Who owns the files with secrets, and who can read them. */
export const secretFilesProbe: Probe = { area: "secret files", find: findSecretFileProblems };

interface SecretFile {
  readonly path: string;
  readonly stats: Stats;
}

const othersMask = 0o077;
const [folderMode, fileMode] = [0o700, 0o600];
const shown = 5;

async function findSecretFileProblems({ config }: DoctorContext): Promise<readonly Finding[]> {
  const { stackDir } = config;
  const { unsealKey, credentials } = localVaultFiles(stackDir);
  const files = (await Promise.all([join(stackDir, "secrets"), credentials, unsealKey].map(listFiles))).flat();
  const [first] = files;
  const uid = process.getuid?.();
  if (first === undefined || uid === undefined) return [];
  const strangers = files.filter(({ stats }) => stats.uid !== uid);
  const open = files.filter(({ stats }) => (stats.mode & othersMask) !== 0);
  return [
    ...(strangers.length === 0 ? [] : [wrongOwner(stackDir, strangers, (await lstat(stackDir)).uid)]),
    ...(open.length === 0 ? [] : [wrongMode(stackDir, open)]),
  ];
}

/** The path itself and everything in it; symbolic links are not followed. */
async function listFiles(path: string): Promise<SecretFile[]> {
  const stats = await lstat(path).catch(() => undefined);
  if (stats === undefined || stats.isSymbolicLink()) return [];
  const names = stats.isDirectory() ? await readdir(path) : [];
  return [{ path, stats }, ...(await Promise.all(names.map((name) => listFiles(join(path, name))))).flat()];
}

function wrongMode(stackDir: string, open: readonly SecretFile[]): Finding {
  return {
    id: "secret-files-readable",
    symptom: "secrets",
    cause: "Other users of this machine have access to files with secrets, so the commands refuse to use them.",
    evidence: list(stackDir, open, ({ stats }) => `mode ${(stats.mode & 0o777).toString(8).padStart(4, "0")}`),
    fix: `Run chmod -R go= ${open.map(({ path }) => `'${path}'`).join(" ")}.`,
    repair: {
      description: `removes other users' access to the secrets in ${stackDir}`,
      run: async () => {
        for (const { path, stats } of open) await chmod(path, stats.isDirectory() ? folderMode : fileMode);
      },
    },
  };
}

/** @param owner that of the stack's folder */
function wrongOwner(stackDir: string, strangers: readonly SecretFile[], owner: number): Finding {
  const uid = process.getuid?.();
  const finding = {
    id: "secret-files-owner",
    symptom: "secrets",
    cause: "Files with secrets belong to another user than the one who runs this, so the commands refuse to use them.",
    evidence: `This runs as uid ${uid}. ${list(stackDir, strangers, ({ stats }) => `uid ${stats.uid}`)}`,
  } as const;
  if (owner !== uid) return { ...finding, fix: `Run the commands as the owner of the stack: sudo -u '#${owner}' …` };
  const paths = strangers.map(({ path }) => `'${path}'`).join(" ");
  const fixed = { ...finding, fix: `As root, run chown ${owner} ${paths}.` };
  if (uid !== 0) return fixed;
  const run = async () => {
    for (const { path } of strangers) await chown(path, owner, process.getgid?.() ?? 0);
  };
  return { ...fixed, repair: { description: `makes uid ${owner} the owner of the secrets in ${stackDir}`, run } };
}

function list(stackDir: string, files: readonly SecretFile[], describe: (file: SecretFile) => string): string {
  const named = files.slice(0, shown).map((file) => `${relative(stackDir, file.path)}: ${describe(file)}`);
  return [...named, ...(files.length > shown ? [`and ${files.length - shown} more`] : [])].join("; ");
}
