-- What Vault's database engine runs to take a login back, and `secrets sweep` for one that Vault has forgotten.
-- One transaction. Sessions are ended twice: first so that they hold no locks, last as one may have begun meanwhile.
do $$
declare
  login constant oid := to_regrole('"{{name}}"');
begin
  if login is null then
    return;
  end if;
  perform pg_catalog.pg_terminate_backend(pid, 5000) from pg_catalog.pg_stat_activity where usesysid = login;
  -- Only who said `set role none` can own something. It stays, as the application's.
  grant "{{name}}" to current_user with inherit true, set true;
  reassign owned by "{{name}}" to cqrs_app;
  drop owned by "{{name}}";
  drop role "{{name}}";
  perform pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity where usesysid = login;
end
$$
