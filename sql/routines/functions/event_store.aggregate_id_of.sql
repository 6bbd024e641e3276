-- Returns the id of an aggregate that is named by text: a UUIDv5 (RFC 9562) of the text, which every client can compute
-- itself. A text in the form of a UUID, 8-4-4-4-12 hexadecimal digits in any case, is the id itself.
--
-- The text is hashed as it is, in UTF-8: upper and lower case differ, and so do the Unicode normalisation forms. The
-- form of a UUID is compared here, because the type uuid also accepts other forms, which clients would have to know.
-- Errors: UE007 the text is empty or longer than 1,024 bytes.
-- Immutable: the namespace and the form of the name never change, because stored ids depend on them.
-- In plpgsql, without search_path: see event_store.stream_id_of.
-- Callers: event_store.append and the functions it calls; every client that names an aggregate by text.
create or replace function event_store.aggregate_id_of(aggregate_key text)
returns uuid
language plpgsql
immutable
strict
parallel safe
as $$
declare
  namespace constant bytea := '\x2f8ea4cf5b0a4d0c9c2b7d1f3e6a9b58';
  name constant bytea := convert_to(aggregate_key, 'UTF8');
  hash bytea;
begin
  if aggregate_key ~ '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$' then
    return aggregate_key::uuid;
  elsif length(name) not between 1 and 1024 then
    raise exception using
      errcode = 'UE007',
      message = format('the aggregate key has %s bytes; it must have 1 to 1024', length(name));
  end if;
  hash := public.digest(namespace || name, 'sha1');
  hash := set_byte(hash, 6, (get_byte(hash, 6) & 15) | 80);
  hash := set_byte(hash, 8, (get_byte(hash, 8) & 63) | 128);
  return encode(substr(hash, 1, 16), 'hex')::uuid;
end
$$;

comment on function event_store.aggregate_id_of is 'Derives the id of an aggregate that is named by text (UUIDv5)';

grant execute on function event_store.aggregate_id_of to :{app};
