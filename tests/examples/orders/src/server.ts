// Commands and queries over HTTP. The answer to a command has a checkpoint; a query that passes it as ?after=… waits
// until the read model contains what the command stored.
import { createServer, type IncomingMessage, type Server } from "node:http";
import {
  type Checkpoint,
  checkpointAfter,
  decide,
  type EventStore,
  ProjectionBehind,
  VersionConflict,
  waitUntil,
} from "cqrs-postgres";
import { cancel, OrderRefused, order, pay, place } from "./order.ts";
import { orderList } from "./order-list.ts";

interface Answer {
  readonly status: number;
  readonly body: unknown;
}

export function createOrderServer(store: EventStore): Server {
  return createServer(async (request, response) => {
    const { status, body } = await answer(store, request).catch(explain);
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  });
}

async function answer(store: EventStore, request: IncomingMessage): Promise<Answer> {
  const url = new URL(request.url ?? "/", "http://localhost");
  const [, resource, id, action = ""] = url.pathname.split("/");
  if (resource !== "orders") return notFound;
  if (request.method === "GET") return query(store, id, url.searchParams.get("after"));
  return request.method === "POST" && id ? command(store, id, action, await readBody(request)) : notFound;
}

const notFound: Answer = { status: 404, body: { error: "not found" } };

class BadRequest extends Error {}

async function command(store: EventStore, id: string, action: string, body: Fields): Promise<Answer> {
  const decision = parse(action, body);
  if (decision === undefined) return notFound;
  const { state, appended } = await decide(store, order, id, decision);
  const checkpoint = appended && checkpointAfter({ position: appended.lastPosition });
  return { status: 200, body: { ...state, checkpoint } };
}

function parse(action: string, { customer, totalCents, amountCents, reason }: Fields) {
  if (action === "") return place(text("customer", customer), cents("totalCents", totalCents));
  if (action === "payments") return pay(cents("amountCents", amountCents));
  return action === "cancellation" ? cancel(text("reason", reason)) : undefined;
}

async function query(store: EventStore, id: string | undefined, after: string | null): Promise<Answer> {
  if (after !== null) await waitUntil(store, orderList.name, after as Checkpoint, { timeoutMs: 5_000 });
  const rows = id
    ? await store.sql`select * from order_list where id = ${id}`
    : await store.sql`select * from order_list order by id limit 100`;
  if (!id) return { status: 200, body: [...rows] };
  return rows[0] === undefined ? notFound : { status: 200, body: rows[0] };
}

type Fields = Readonly<Record<string, unknown>>;

async function readBody(request: IncomingMessage): Promise<Fields> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece);
  try {
    const body: unknown = JSON.parse(Buffer.concat(pieces).toString());
    if (typeof body === "object" && body !== null) return body as Fields;
  } catch {
    // Reported below.
  }
  throw new BadRequest("the body is not a JSON object");
}

function text(name: string, value: unknown): string {
  if (typeof value === "string" && value !== "") return value;
  throw new BadRequest(`${name} must be a text`);
}

function cents(name: string, value: unknown): number {
  if (typeof value === "number" && Number.isSafeInteger(value) && value > 0) return value;
  throw new BadRequest(`${name} must be a positive integer`);
}

function explain(error: unknown): Answer {
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof BadRequest) return { status: 400, body: { error: message } };
  if (error instanceof OrderRefused) return { status: 422, body: { error: message } };
  if (error instanceof VersionConflict) return { status: 409, body: { error: "the order was changed; try again" } };
  if (error instanceof ProjectionBehind) return { status: 503, body: { error: "the list of orders is behind" } };
  console.error(error);
  return { status: 500, body: { error: "internal error" } };
}
