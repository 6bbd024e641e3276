import { uuidv7 } from "uuidv7";

/** An event as every store gets it. */
export interface SampleEvent {
  readonly id: string;
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** A stream that a caller appends to. */
export interface Stream {
  readonly type: string;
  readonly id: string;
  /** Number of events that the caller has stored in it. */
  version: number;
}

/** @returns events of eight types, with about 230 bytes of data and 60 of metadata as JSON */
export function makeEvents(count: number): SampleEvent[] {
  return Array.from({ length: count }, (_, index) => ({
    id: uuidv7(),
    type: `LineChanged${index % 8}`,
    data: {
      customerId: "5f0c9a3e-5d0e-4f2c-9a57-3a0f6b1c2d4e",
      sku: `SKU-${100_000 + (index % 9_000)}`,
      quantity: 1 + (index % 7),
      unitPrice: 1_995 + index,
      currency: "EUR",
      address: { street: "Lange Straße 17", city: "Oldenburg", postalCode: "26122", country: "DE" },
      note: "leave with the neighbour",
    },
    metadata: { userId: "user-48213", tenant: "acme", traceId: "4bf92f3577b34da6" },
  }));
}
