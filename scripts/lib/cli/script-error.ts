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
  timeout: 124,
  sigint: 130,
  sigterm: 143,
} as const;

/** What a person needs to understand a failure and to mend it. */
export interface ScriptErrorDetails {
  /** A stable name for programs, in capitals: `PORT_TAKEN`. */
  readonly code: string;
  /** One of {@link exitCodes}. */
  readonly exitCode: number;
  /** What failed, in one sentence. */
  readonly message: string;
  /** Why it failed: the wanted and the actual state. */
  readonly why?: string;
  /** A command, or the one thing to do, that mends it. */
  readonly fix?: string;
  /** What is known in spite of the failure; printed by `--json` beside the error. */
  readonly data?: unknown;
}

/**
 * A failure that was foreseen. It is printed as what, why and how to mend it, without a stack.
 *
 * It carries no `cause`: a driver's error may hold credentials, and whoever prints this one would print them too.
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
