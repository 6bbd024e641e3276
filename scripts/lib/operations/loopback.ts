import { BlockList, isIP } from "node:net";

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** Whether a server's host is this one, by its name or address alone: nothing is looked up. */
export function isLoopback(host: string): boolean {
  const address = host.replace(/^\[(.*)\]$/, "$1");
  const version = isIP(address);
  if (version > 0) return loopback.check(address, version === 6 ? "ipv6" : "ipv4");
  return /^([^.]+\.)*localhost\.?$/i.test(host) || host.startsWith("/");
}
