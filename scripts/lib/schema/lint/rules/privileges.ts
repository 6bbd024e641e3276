import type { Node } from "libpg-query";
import { pathOf } from "../bodies.ts";
import { type Place, type Rule, type Subject, when } from "../rule.ts";
import { settingChanges } from "../settings.ts";
import { nameParts, optionsOf, treeOf, treesOf } from "../tree.ts";

const everywhere: readonly Place[] = ["file", "block", "body"];

const roles: readonly string[] = ["cqrs_owner", "cqrs_app_owner", "cqrs_app"];

/** Rules about privileges, roles and what protects the log. */
export const privilegeRules: readonly Rule[] = [
  {
    id: "event-store-privileges",
    group: "event-store",
    why: "The product grants what applications need. With more privileges, they could change the log.",
    better: "Grant privileges on your own objects, to :{app}.",
    places: everywhere,
    check: (subject) => [
      ...grantedObjects(subject).map((name) => `privileges on ${name}`),
      ...namedRoles(subject.node).map((name) => `the role ${name} is changed or granted`),
    ],
  },
  {
    id: "change-role",
    group: "event-store",
    why: "A file runs as cqrs_app_owner, which owns what it creates. As another role, it could weaken the log.",
    better: "Leave the role alone.",
    places: everywhere,
    check: ({ node }) =>
      settingChanges(node)
        .filter(({ name }) => name === "role" || name === "session_authorization" || name === "session authorization")
        .map(({ name }) => `${name} is changed`),
  },
  {
    id: "alter-owner",
    group: "event-store",
    why: "Objects of a project belong to cqrs_app_owner: backups, restores and later files rely on it.",
    better: "Leave the owner alone, and grant privileges.",
    check({ node }) {
      const commands = treesOf(treeOf(node, "AlterTableStmt")?.cmds, "AlterTableCmd");
      const isChanged = commands.some(({ subtype }) => subtype === "AT_ChangeOwner");
      const isStatement = ["AlterOwnerStmt", "ReassignOwnedStmt", "DropOwnedStmt"].some((kind) => kind in node);
      return when(isChanged || isStatement, "an owner is changed");
    },
  },
  {
    id: "event-store-guard",
    group: "event-store",
    why: "It disables triggers or changes the whole server, and with it what keeps events immutable.",
    better: "Leave it out. An administrator changes settings of the server.",
    places: everywhere,
    check: ({ node }) => [
      ...when(setsReplicationRole(node), "session_replication_role is changed"),
      ...when("AlterSystemStmt" in node, "ALTER SYSTEM"),
      ...when("AlterEventTrigStmt" in node || "CreateEventTrigStmt" in node, "an event trigger"),
    ],
  },
  {
    id: "definer-search-path",
    group: "event-store",
    why: "It runs with its owner's privileges. With the caller's search path, callers choose what it calls.",
    better: "create function … security definer set search_path = pg_catalog, command_model, pg_temp",
    places: everywhere,
    check({ node }) {
      const create = treeOf(node, "CreateFunctionStmt");
      const options = create?.options ?? treeOf(node, "AlterFunctionStmt")?.actions;
      const isDefiner = optionsOf(options).get("security") === "true";
      return when(
        isDefiner && pathOf({ options: options ?? [] }) === undefined,
        "SECURITY DEFINER without search_path",
      );
    },
  },
];

/** By SET, by a call, or as a setting of a function, a role or a database. */
function setsReplicationRole(node: Node): boolean {
  const isCalled = settingChanges(node).some(({ name }) => name === "session_replication_role");
  return isCalled || /"name":"session_replication_role"/i.test(JSON.stringify(node));
}

/** @returns the protected objects of GRANT, REVOKE and ALTER DEFAULT PRIVILEGES */
function grantedObjects({ node, catalog, searchPath }: Subject): string[] {
  const grant = treeOf(node, "GrantStmt");
  const isSchema = grant?.objtype === "OBJECT_SCHEMA" || grant?.targtype === "ACL_TARGET_ALL_IN_SCHEMA";
  const names = (grant?.objects ?? []).map((object) => grantedName(object, grant?.objtype));
  const found = names.filter((parts) => {
    return isSchema ? parts.at(-1) === "event_store" : catalog.isProtected(catalog.key(parts, searchPath));
  });
  const options = treesOf(treeOf(node, "AlterDefaultPrivilegesStmt")?.options, "DefElem");
  const defaults = options.flatMap(({ arg }) => nameParts(arg)).filter((name) => name === "event_store");
  return [...found.map((parts) => parts.join(".")), ...defaults.map((name) => `future objects of ${name}`)];
}

function grantedName(object: Node, type: unknown): string[] {
  const table = treeOf(object, "RangeVar");
  if (table !== undefined) return [table.schemaname, table.relname].filter((part) => part !== undefined);
  const parts = nameParts(object);
  const isRoutine = type === "OBJECT_FUNCTION" || type === "OBJECT_PROCEDURE" || type === "OBJECT_ROUTINE";
  return isRoutine ? [...parts.slice(0, -1), `${parts.at(-1)}()`] : parts;
}

/** @returns the product's roles that are granted, altered, dropped, or for which default privileges are changed */
function namedRoles(node: Node): string[] {
  const granted = treesOf(treeOf(node, "GrantRoleStmt")?.granted_roles, "AccessPriv").map(
    ({ priv_name: name }) => name,
  );
  const altered = [treeOf(node, "AlterRoleStmt")?.role, treeOf(node, "AlterRoleSetStmt")?.role];
  const dropped = treesOf(treeOf(node, "DropRoleStmt")?.roles, "RoleSpec");
  const defaults = treesOf(treeOf(node, "AlterDefaultPrivilegesStmt")?.options, "DefElem");
  const ofDefaults = defaults.flatMap(({ arg }) => treesOf(treeOf(arg, "List")?.items, "RoleSpec"));
  const others = [...altered, ...dropped].map((role) => role?.rolename);
  const owners = ofDefaults.map(({ rolename }) => rolename).filter((name) => name !== "cqrs_app_owner");
  return [...granted, ...others, ...owners].filter((name) => name !== undefined && roles.includes(name)) as string[];
}
