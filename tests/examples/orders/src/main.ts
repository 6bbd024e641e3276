// Serves orders and keeps the read model up to date, until SIGINT or SIGTERM.
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { project } from "cqrs-postgres";
import { connect } from "cqrs-postgres/stack";
import { orderList } from "./order-list.ts";
import { createOrderServer } from "./server.ts";

const stopping = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stopping.abort());

const store = await connect({ applicationName: "orders" });
const projecting = project(store, { ...orderList, signal: stopping.signal });
const server = createOrderServer(store).listen(Number(process.env["PORT"] ?? 3000), "127.0.0.1");
await once(server, "listening");
console.log(`listening on http://127.0.0.1:${(server.address() as AddressInfo).port}`);

await Promise.race([once(stopping.signal, "abort"), projecting]);
server.close();
server.closeAllConnections();
await projecting;
await store[Symbol.asyncDispose]();
