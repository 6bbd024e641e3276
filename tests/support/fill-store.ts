import type { Sql } from "../../scripts/lib/postgres/driver.ts";

/** The types of the streams that `fillStore` creates. */
export const streamTypes = ["Order", "Invoice", "Shipment", "Payment"];

const eventsPerStream = 10;
const eventsPerStatement = 100_000;

/**
 * Stores many events fast, by bulk statements: streams of 10 events, where every stream gets its first event before any
 * gets its second. The event ids increase like UUIDv7. Four types of streams and eight of events have equal parts.
 *
 * @param admin a superuser's connection to a database with the project's schema
 * @param count a multiple of 10
 * @param stored number of events that earlier calls stored
 */
export async function fillStore(admin: Sql, count: number, stored = 0): Promise<void> {
  for (let start = 0; start < count; start += eventsPerStatement) {
    await fillPart(admin, stored + start, Math.min(count - start, eventsPerStatement));
  }
}

async function fillPart(admin: Sql, start: number, count: number): Promise<void> {
  await admin`
    with stream as materialized (
      insert into event_store.event_stream (stream_id, aggregate_id, version, aggregate_type)
      select event_store.stream_id_of(aggregate_type, aggregate_id), aggregate_id, ${eventsPerStream}, aggregate_type
      from (
        select
          gen_random_uuid() as aggregate_id,
          (string_to_array(${streamTypes.join()}, ','))[1 + number % ${streamTypes.length}::int] as aggregate_type
        from generate_series(1, ${count / eventsPerStream}::int) as number
      ) as aggregate
      returning stream_id
    ),
    event as (
      select stream_id, version, ${start}::int + row_number() over () as number
      from generate_series(1, ${eventsPerStream}::int) as version
      cross join stream
    )
    insert into event_store.domain_event (
      event_id, occurred_at, stream_id, aggregate_version, event_type, event_data, metadata
    )
    select
      (lpad(to_hex(1700000000000 + number / 20), 12, '0') || '7' || substr(md5(number::text), 1, 3) || '8'
        || substr(md5(number::text), 4, 15))::uuid,
      to_timestamp((1700000000000 + number / 20) / 1000.0),
      stream_id,
      version,
      'LineChanged' || number % 8,
      jsonb_build_object(
        'customerId', md5(number::text)::uuid, 'sku', 'SKU-' || 100000 + number % 9000, 'quantity', 1 + number % 7,
        'unitPrice', 1995 + number % 10000, 'currency', 'EUR', 'note', 'leave with the neighbour',
        'address', '{"street": "Lange Straße 17", "city": "Oldenburg", "postalCode": "26122", "country": "DE"}'::jsonb
      ),
      '{"userId": "user-48213", "tenant": "acme", "traceId": "4bf92f3577b34da6"}'
    from event`;
}
