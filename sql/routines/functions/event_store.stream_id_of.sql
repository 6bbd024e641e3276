-- Returns the id of an aggregate's stream: a UUIDv5 (RFC 9562) of "<aggregate_type>:<aggregate_id>", which every client
-- can compute itself. The aggregate_id comes last and has a fixed length, so no two aggregates share a name.
--
-- Immutable: the namespace and the form of the name never change, because stored ids depend on them.
-- In plpgsql, because the hash is used three times: a SQL function that does that is not inlined but planned at each
-- call. Pins no search_path: it runs with its caller's privileges, and the setting would cost some microseconds per
-- call.
-- Callers: event_store.append and the other functions that take an aggregate; every client that appends.
create or replace function event_store.stream_id_of(aggregate_type varchar, aggregate_id uuid)
returns uuid
language plpgsql
immutable
strict
parallel safe
as $$
declare
  namespace constant bytea := '\x6dd05592e45b4368838faefdd7d64854';
  hash bytea;
begin
  hash := public.digest(namespace || convert_to(aggregate_type || ':' || aggregate_id, 'UTF8'), 'sha1');
  hash := set_byte(hash, 6, (get_byte(hash, 6) & 15) | 80);
  hash := set_byte(hash, 8, (get_byte(hash, 8) & 63) | 128);
  return encode(substr(hash, 1, 16), 'hex')::uuid;
end
$$;

comment on function event_store.stream_id_of is 'Derives the id of an aggregate''s stream (UUIDv5)';

grant execute on function event_store.stream_id_of to :{app};
