import type { Constraint, ConstrType } from "libpg-query";
import { type Rule, type Subject, when } from "../rule.ts";
import { treeOf } from "../tree.ts";
import { commandsOf } from "./alter-table.ts";
import { addedColumns } from "./columns.ts";

const unique: readonly ConstrType[] = ["CONSTR_PRIMARY", "CONSTR_UNIQUE"];

/** Rules about constraints of tables that exist. */
export const constraintRules: readonly Rule[] = [
  {
    id: "unique-without-index",
    group: "locks",
    why: "The constraint's index is built while reads and writes of the table wait.",
    better: "create unique index concurrently i …; in the next file: add constraint c unique using index i",
    check: (subject) =>
      addedConstraints(subject)
        .filter(({ constraint }) => unique.includes(constraint.contype as ConstrType) && !constraint.indexname)
        .map(({ table }) => `unique constraint on the existing table ${table}`),
  },
  {
    id: "exclusion-constraint",
    group: "locks",
    why: "The constraint's index is built while reads and writes of the table wait; it cannot be built concurrently.",
    better: "Create another table with the constraint and copy the rows; or suppress this rule if the table is small.",
    check: (subject) =>
      addedConstraints(subject)
        .filter(({ constraint }) => constraint.contype === "CONSTR_EXCLUSION")
        .map(({ table }) => `exclusion constraint on the existing table ${table}`),
  },
  {
    id: "check-without-not-valid",
    group: "locks",
    why: "All rows are checked while reads and writes of the table wait.",
    better: "add constraint c check (…) not valid; in the next file: validate constraint c",
    check: (subject) => [
      ...addedConstraints(subject)
        .filter(({ constraint }) => constraint.contype === "CONSTR_CHECK" && !isUnchecked(constraint))
        .map(({ table }) => `CHECK on the existing table ${table}`),
      ...domainCheck(subject),
    ],
  },
  {
    id: "foreign-key-without-not-valid",
    group: "locks",
    why: "All rows are looked up in the other table while writes of both tables wait.",
    better: "add constraint c foreign key … not valid; in the next file: validate constraint c",
    check: (subject) =>
      addedConstraints(subject)
        .filter(({ constraint }) => constraint.contype === "CONSTR_FOREIGN" && !isUnchecked(constraint))
        .map(({ table }) => `foreign key of the existing table ${table}`),
  },
  {
    id: "validate-in-same-file",
    group: "locks",
    why: "The lock of ADD CONSTRAINT is held until the file ends: VALIDATE reads the table while everything waits.",
    better: "Move VALIDATE CONSTRAINT to the next file.",
    check: (subject) =>
      commandsOf(subject, "AT_ValidateConstraint")
        .filter(({ table, command }) => subject.catalog.isCheckOf(table, command.name ?? "", subject.file))
        .filter(() => !subject.isOutsideTransaction)
        .map(({ table, command }) => `constraint ${command.name} of ${table} is validated where it is added`),
  },
];

interface AddedConstraint {
  readonly table: string;
  readonly constraint: Constraint;
}

/** @returns the constraints that a statement adds to a table that exists, also with a column */
function addedConstraints(subject: Subject): AddedConstraint[] {
  const own = commandsOf(subject, "AT_AddConstraint").flatMap(({ table, command }) => {
    const constraint = treeOf(command.def, "Constraint");
    return constraint === undefined ? [] : [{ table, constraint }];
  });
  const ofColumns = addedColumns(subject).flatMap(({ name, constraints }) => {
    const table = name.split(".").slice(0, 2).join(".");
    // A column without a default is null in all rows: PostgreSQL does not look them up.
    const isNull = !constraints.has("CONSTR_DEFAULT");
    const found = [...constraints.values()].filter(({ contype }) => !(isNull && contype === "CONSTR_FOREIGN"));
    return found.map((constraint) => ({ table, constraint }));
  });
  return [...own, ...ofColumns];
}

/** NOT VALID, or NOT ENFORCED. */
function isUnchecked({ skip_validation: isSkipped }: Constraint): boolean {
  return isSkipped === true;
}

function domainCheck({ node }: Subject): readonly string[] {
  const alter = treeOf(node, "AlterDomainStmt");
  const constraint = treeOf(alter?.def, "Constraint");
  const adds = constraint !== undefined && constraint.skip_validation !== true;
  return when(adds || alter?.subtype === "O", "constraint of a domain, checked in all tables that use it");
}
