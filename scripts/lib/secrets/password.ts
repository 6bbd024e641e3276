const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const passwordLength = 32;

/** @returns 32 characters of [A-Za-z0-9]: 190 bits, and nothing that must be quoted in a URL or a shell */
export function generatePassword(): string {
  let password = "";
  while (password.length < passwordLength) {
    for (const byte of crypto.getRandomValues(new Uint8Array(passwordLength))) {
      // 248 is the greatest multiple of 62 below 256; larger bytes would make the first letters more likely.
      if (byte < 248 && password.length < passwordLength) password += alphabet[byte % alphabet.length];
    }
  }
  return password;
}
