-- Vault's database engine runs this to issue a login. The password is a SCRAM verifier. Vault splits this file at
-- every semicolon, even in comments.
-- The login works as cqrs_app, so all logins share what they create and none owns anything.
create role "{{name}}" with login password '{{password}}' valid until '{{expiration}}' in role cqrs_app;
alter role "{{name}}" set role = 'cqrs_app';
