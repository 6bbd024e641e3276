import type { SendUnauthenticated, VaultLogin } from "./authentication.ts";
import { explainVaultFailure, type FailureContext } from "./explain.ts";
import { notRunning, VaultFailure } from "./failure.ts";
import { type RetryLimits, withRetries } from "./retry.ts";
import {
  openTransport,
  type VaultAddress,
  type VaultBody,
  type VaultRequest,
  type VaultTransport,
} from "./transport.ts";

/** Which Vault to use, how to log in, and how long to retry. */
export interface VaultClientOptions extends VaultAddress {
  readonly login: VaultLogin;
  readonly limits: RetryLimits;
  readonly signal?: AbortSignal | undefined;
  /** Whether it is the local Vault of a stack: its errors suggest other fixes. */
  readonly isLocal?: boolean;
  /** Checked before each request: if Vault has stopped, another program on its port must not get the credentials. */
  readonly isRunning?: () => boolean;
}

/** How to send one request. */
export interface RequestOptions {
  /** Statuses that the caller handles: they are thrown as {@link VaultFailure}. */
  readonly expected?: readonly number[];
  /** False for a request that is not idempotent. */
  readonly isRepeatable?: boolean;
  /** Replaces the login's token. */
  readonly token?: string;
  /** Called before each retry: the previous attempt may have succeeded. */
  readonly onRepeat?: () => void;
}

type Request = Omit<VaultRequest, "token">;

/** Talks to one Vault: logs in, retries transient failures, and explains the others. */
export class VaultClient {
  readonly #options: VaultClientOptions;
  #transport: Promise<VaultTransport> | undefined;
  #token: Promise<string | undefined> | undefined;

  constructor(options: VaultClientOptions) {
    this.#options = options;
  }

  get address(): string {
    return this.#options.address;
  }

  /** Sends a request with the login's token; if Vault refuses the token, it is renewed once. */
  async request(request: Request, options: RequestOptions = {}): Promise<VaultBody> {
    if (options.token !== undefined) return this.#explained(request, options, options.token);
    const token = await this.#obtain(request);
    try {
      return await this.#send(request, options, token);
    } catch (error) {
      const renewed = isForbidden(error) ? await this.#obtain(request, token) : undefined;
      if (renewed === undefined) throw this.#explain(error, request, options);
      return this.#explained(request, options, renewed);
    }
  }

  /** Sends a request without a token, to paths that need none. */
  anonymously(request: Request, options: RequestOptions = {}): Promise<VaultBody> {
    return this.#explained(request, options, undefined);
  }

  /** Sends a request with no token but its own; throws failures unexplained. */
  send(request: VaultRequest, options: RequestOptions = {}): Promise<VaultBody> {
    return this.#send(request, options, request.token);
  }

  async #explained(request: Request, options: RequestOptions, token: string | undefined): Promise<VaultBody> {
    try {
      return await this.#send(request, options, token);
    } catch (error) {
      throw this.#explain(error, request, options);
    }
  }

  async #send(request: Request, options: RequestOptions, token: string | undefined): Promise<VaultBody> {
    const { limits, signal, isRunning = () => true } = this.#options;
    const transport = await this.#open();
    const send = (attempt: number) => {
      if (attempt > 1) options.onRepeat?.();
      if (!isRunning()) throw new VaultFailure({ kind: "network", code: notRunning });
      return transport({ ...request, token });
    };
    return withRetries(send, { limits, signal, isRepeatable: options.isRepeatable ?? true });
  }

  /** Concurrent callers share one login and one renewal; a failed login is not cached. */
  async #obtain(request: Request, refused?: string): Promise<string | undefined> {
    const held = this.#token;
    if (refused !== undefined && (await held) === refused && this.#token === held) this.#token = undefined;
    const send: SendUnauthenticated = (login, options) => this.send(login, options);
    this.#token ??= this.#options.login.obtain(send, refused !== undefined);
    const pending = this.#token;
    const forget = () => {
      if (this.#token === pending) this.#token = undefined;
    };
    try {
      const token = await pending;
      if (token === undefined) forget();
      return token;
    } catch (error) {
      forget();
      throw this.#explain(error, { ...request, method: "POST", path: "auth/approle/login" }, {});
    }
  }

  #open(): Promise<VaultTransport> {
    this.#transport ??= openTransport({ requestTimeoutMs: this.#options.limits.timeoutMs, ...this.#options });
    return this.#transport;
  }

  #explain(error: unknown, { method, path }: Request, { expected = [] }: RequestOptions): unknown {
    if (!(error instanceof VaultFailure) || expected.includes(error.status)) return error;
    const { address, login, isLocal = false } = this.#options;
    const context: FailureContext = { address, method, path, login: login.description, isLocal };
    return explainVaultFailure(error, context);
  }
}

function isForbidden(error: unknown): boolean {
  return error instanceof VaultFailure && error.status === 403;
}
