/** PostgreSQL truncates longer names. */
export const maxNameBytes = 63;

const secondSuffix = "_b";

/** A login's name leaves room for the suffix of the second login. */
export const maxLoginBytes: number = maxNameBytes - secondSuffix.length;

/** The two logins that an application alternates between: each rotation switches to the other one. */
export interface LoginPair {
  /** The login that the application's secret names. */
  readonly current: string;
  readonly other: string;
}

/**
 * @param user the first login of the pair, which the configuration names
 * @param named the login that the secret names, if there is a secret
 */
export function loginPair(user: string, named: string | undefined): LoginPair {
  const second = `${user}${secondSuffix}`;
  return named === second ? { current: second, other: user } : { current: user, other: second };
}
