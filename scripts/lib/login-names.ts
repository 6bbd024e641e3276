/** PostgreSQL truncates longer names. */
export const maxNameBytes = 63;

const secondSuffix = "_b";

/** A login's name leaves room for the suffix of the second login. */
export const maxLoginBytes: number = maxNameBytes - secondSuffix.length;

/** The two logins of an application; each rotation switches to the other one. */
export interface LoginPair {
  /** The login in the application's secret. */
  readonly current: string;
  readonly other: string;
}

/**
 * @param user the first login of the pair, from the configuration
 * @param stored the login in the secret, if there is a secret
 */
export function loginPair(user: string, stored: string | undefined): LoginPair {
  const second = `${user}${secondSuffix}`;
  return stored === second ? { current: second, other: user } : { current: user, other: second };
}

/** Whether two names are of one pair of logins, which rotations alternate with. */
export function isSameLogin(one: string, other: string): boolean {
  return loginPair(one, other).current === other || loginPair(other, one).current === one;
}
