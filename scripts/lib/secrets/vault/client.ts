import type { SendUnauthenticated, VaultLogin } from "./authentication.ts";
import { explainVaultFailure, type FailureContext } from "./explain.ts";
import { VaultFailure } from "./failure.ts";
import { type RetryLimits, withRetries } from "./retry.ts";
import {
  openTransport,
  type VaultAddress,
  type VaultBody,
  type VaultRequest,
  type VaultTransport,
} from "./transport.ts";

/** Which Vault, as whom, and how patiently. */
export interface VaultClientOptions extends VaultAddress {
  readonly login: VaultLogin;
  readonly limits: RetryLimits;
  readonly signal?: AbortSignal | undefined;
  /** Whether it is the local Vault of a stack: its errors name other mends. */
  readonly isLocal?: boolean;
}

/** How one request is sent. */
export interface RequestOptions {
  /** Statuses that the caller judges: they are thrown as {@link VaultFailure}. */
  readonly expected?: readonly number[];
  /** False for a request that must not be sent twice. */
  readonly isRepeatable?: boolean;
  /** This token instead of the login's. */
  readonly token?: string;
  /** Called before a request is sent another time: the one before may have done its work. */
  readonly onRepeat?: () => void;
}

type Request = Omit<VaultRequest, "token">;

/** Talks to one Vault: logs in, retries what may pass, and tells failures in words of ours. */
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

  /** Sends as whoever the login is; a token that Vault refuses is renewed once. */
  async request(request: Request, options: RequestOptions = {}): Promise<VaultBody> {
    if (options.token !== undefined) return this.#explained(request, options, options.token);
    const token = await this.#obtain(request);
    try {
      return await this.#send(request, options, token);
    } catch (error) {
      const again = isForbidden(error) ? await this.#obtain(request, token) : undefined;
      if (again === undefined) throw this.#explain(error, request, options);
      return this.#explained(request, options, again);
    }
  }

  /** Sends without a token: for what Vault answers anybody. */
  anonymously(request: Request, options: RequestOptions = {}): Promise<VaultBody> {
    return this.#explained(request, options, undefined);
  }

  /** Sends with no other token than the request's own; failures are thrown as they are. */
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
    const { limits, signal } = this.#options;
    const transport = await this.#open();
    const send = (attempt: number) => {
      if (attempt > 0) options.onRepeat?.();
      return transport({ ...request, token });
    };
    return withRetries(send, { limits, signal, isRepeatable: options.isRepeatable ?? true });
  }

  /** Callers at once share one login, and one login anew; nothing is kept of one that failed. */
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
