-- Vault's database engine runs this to revoke a login, and `secrets sweep` for one that Vault has forgotten.
-- One transaction. Sessions are terminated twice: first to release their locks, then for one that started in between.
do $$
declare
  login constant oid := to_regrole('"{{name}}"');
begin
  if login is null then
    return;
  end if;
  perform pg_catalog.pg_terminate_backend(pid, 5000) from pg_catalog.pg_stat_activity where usesysid = login;
  -- Only a session that ran `set role none` can own something. The application keeps it.
  grant "{{name}}" to current_user with inherit true, set true;
  reassign owned by "{{name}}" to cqrs_app;
  drop owned by "{{name}}";
  drop role "{{name}}";
  perform pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity where usesysid = login;
end
$$
