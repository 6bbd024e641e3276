/** Process exit codes, the same for every script. */
export const exitCodes = {
  ok: 0,
  bug: 1,
  usage: 2,
  notReady: 3,
  drift: 4,
  locked: 5,
  authentication: 6,
  lint: 7,
  refused: 8,
  prerequisite: 9,
  pending: 10,
  verification: 11,
  deadLetters: 12,
  retired: 13,
  timeout: 124,
  sigint: 130,
  sigterm: 143,
} as const;

/** What a person needs to understand a failure and to fix it. */
export interface ScriptErrorDetails {
  /** A stable name for programs: `PORT_TAKEN`. */
  readonly code: string;
  /** One of {@link exitCodes}. */
  readonly exitCode: number;
  /** What failed, in one sentence. */
  readonly message: string;
  /** Why it failed: the expected and the actual state. */
  readonly why?: string;
  /** An instruction: the command to run or the one thing to do. */
  readonly fix?: string | undefined;
  /** What is known despite the failure; `--json` prints it along with the error. */
  readonly data?: unknown;
}

/**
 * An expected failure. It is printed as message, why and fix, without a stack trace.
 *
 * It has no `cause`: a driver's error may contain credentials, which would be printed too.
 */
export class ScriptError extends Error {
  override readonly name = "ScriptError";
  readonly code: string;
  readonly exitCode: number;
  readonly why: string | undefined;
  readonly fix: string | undefined;
  readonly data: unknown;

  constructor(details: ScriptErrorDetails) {
    super(details.message);
    this.code = details.code;
    this.exitCode = details.exitCode;
    this.why = details.why;
    this.fix = details.fix;
    this.data = details.data;
  }
}
