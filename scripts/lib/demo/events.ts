import type { DomainEvent } from "../event-store/event.ts";

/** A line of an order. */
export interface OrderLine {
  readonly sku: string;
  readonly quantity: number;
  readonly unitCents: number;
}

/** What happens to an order of the demo. Times are those of the story; events are stored when it is told. */
export type OrderEvent =
  | DomainEvent<
      "OrderPlaced",
      {
        readonly customerId: string;
        readonly totalCents: number;
        readonly lines?: readonly OrderLine[];
        /** @default when the event was appended */
        readonly placedAt?: string;
      }
    >
  | DomainEvent<"OrderPaid", { readonly amountCents: number; readonly paidAt?: string }>
  | DomainEvent<"OrderShipped", { readonly carrier: string; readonly shippedAt?: string }>
  | DomainEvent<"OrderCancelled", { readonly reason: string; readonly cancelledAt?: string }>;

export type CustomerEvent =
  | DomainEvent<
      "CustomerRegistered",
      { readonly name: string; readonly country: string; readonly registeredAt: string }
    >
  | DomainEvent<"CustomerMoved", { readonly country: string; readonly movedAt: string }>;

export type PaymentEvent =
  | DomainEvent<
      "PaymentRequested",
      { readonly orderId: string; readonly amountCents: number; readonly requestedAt: string }
    >
  | DomainEvent<"PaymentDeclined", { readonly reason: string; readonly declinedAt: string }>
  | DomainEvent<"PaymentCaptured", { readonly amountCents: number; readonly capturedAt: string }>
  | DomainEvent<"PaymentRefunded", { readonly amountCents: number; readonly refundedAt: string }>;

export type ShipmentEvent =
  | DomainEvent<
      "ShipmentDispatched",
      {
        readonly orderId: string;
        readonly carrier: string;
        readonly lines: readonly OrderLine[];
        readonly dispatchedAt: string;
      }
    >
  | DomainEvent<"ShipmentDelivered", { readonly deliveredAt: string }>
  | DomainEvent<"ShipmentReturned", { readonly reason: string; readonly returnedAt: string }>;

export type ShopEvent = OrderEvent | CustomerEvent | PaymentEvent | ShipmentEvent;
