import type { ColumnDef, Constraint, ConstrType, Node } from "libpg-query";
import { typeText } from "../catalog.ts";
import { type Rule, type Subject, when } from "../rule.ts";
import { findAll, nameParts, treeOf, treesOf } from "../tree.ts";
import { commandsOf } from "./alter-table.ts";

/** Functions that PostgreSQL calls once for all existing rows, and operators and casts, which are assumed to be so. */
const stable: readonly string[] = [
  "now",
  "transaction_timestamp",
  "statement_timestamp",
  "current_setting",
  "to_timestamp",
  "make_interval",
  "make_date",
  "jsonb_build_object",
  "jsonb_build_array",
  "json_build_object",
  "json_build_array",
  "array_fill",
  "lower",
  "upper",
  "md5",
  "concat",
  "date_trunc",
  "timezone",
  "to_char",
  "coalesce",
];

const serials: readonly string[] = ["serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"];

/** Rules about columns of tables that exist. */
export const columnRules: readonly Rule[] = [
  {
    id: "add-column-volatile-default",
    group: "locks",
    why: "The default differs by row, so the whole table is rewritten while reads and writes wait.",
    better: "Add the column without a default, set the default for new rows, then update the old rows in batches.",
    check: (subject) =>
      addedColumns(subject).flatMap(({ name, column, constraints }) => {
        const isGenerated = serials.includes(typeText(column)) || constraints.has("CONSTR_IDENTITY");
        return when(isGenerated || isVolatile(constraints.get("CONSTR_DEFAULT")?.raw_expr), `column ${name}`);
      }),
  },
  {
    id: "add-column-stored-generated",
    group: "locks",
    why: "A stored generated column is computed for every row: the table is rewritten while reads and writes wait.",
    better: "Add a plain column, fill it in batches and keep it up to date by a trigger; or compute it in a view.",
    check: (subject) =>
      addedColumns(subject).flatMap(({ name, constraints }) => {
        const generated = constraints.get("CONSTR_GENERATED") as { generated_kind?: string } | undefined;
        return when(generated !== undefined && generated.generated_kind !== "v", `column ${name}`);
      }),
  },
  {
    id: "add-column-not-null",
    group: "locks",
    why: "If the table has rows, they would have no value: the statement fails.",
    better: "Give it a constant default; or add it without NOT NULL, fill it, and see the rule set-not-null.",
    check: (subject) =>
      addedColumns(subject).flatMap(({ name, column, constraints }) => {
        const hasValue = ["CONSTR_DEFAULT", "CONSTR_GENERATED", "CONSTR_IDENTITY"] as const;
        const isFilled = hasValue.some((type) => constraints.has(type)) || serials.includes(typeText(column));
        return when(constraints.has("CONSTR_NOTNULL") && !isFilled, `column ${name} without a default`);
      }),
  },
  {
    id: "set-not-null",
    group: "locks",
    why: "SET NOT NULL reads the whole table while reads and writes wait, unless a valid CHECK proves it.",
    better: "add constraint c check (x is not null) not valid; in the next file: validate constraint c, set not null.",
    check: (subject) => [
      ...commandsOf(subject, "AT_SetNotNull")
        .filter(({ table, command }) => !subject.catalog.isProvenNotNull(table, command.name ?? ""))
        .map(({ table, command }) => `column ${table}.${command.name} becomes NOT NULL`),
      ...commandsOf(subject, "AT_AddConstraint")
        .map(({ table, command }) => ({ table, constraint: treeOf(command.def, "Constraint") }))
        .filter(({ constraint }) => constraint?.contype === "CONSTR_NOTNULL" && !constraint.skip_validation)
        .map(({ table, constraint }) => `column ${table}.${nameParts(constraint?.keys?.[0])[0]} becomes NOT NULL`),
    ],
  },
  {
    id: "change-column-type",
    group: "locks",
    why: "Most changes of a type rewrite the table and its indexes while reads and writes wait.",
    better:
      "Add another column and copy the values in batches. If PostgreSQL needs no rewrite here, suppress this rule.",
    check: (subject) =>
      commandsOf(subject, "AT_AlterColumnType").flatMap(({ table, command: { name = "", def } }) => {
        const column = treeOf(def, "ColumnDef");
        const [from, to] = [subject.catalog.columnType(table, name), column && typeText(column)];
        const isFree = column?.raw_default === undefined && from !== undefined && isWidening(from, to ?? "");
        return when(!isFree, `type of ${table}.${name} becomes ${to}${from === undefined ? "" : `, was ${from}`}`);
      }),
  },
  {
    id: "drop-column",
    group: "locks",
    why: "Programs that still name the column fail, and its values cannot be brought back.",
    better: "First deploy programs that no longer use it. Then drop it, with this rule suppressed and the reason.",
    check: (subject) =>
      commandsOf(subject, "AT_DropColumn").map(({ table, command }) => `column ${table}.${command.name} is dropped`),
  },
];

interface AddedColumn {
  readonly name: string;
  readonly column: ColumnDef;
  readonly constraints: ReadonlyMap<ConstrType, Constraint>;
}

/** @returns the columns that a statement adds to a table that exists */
export function addedColumns(subject: Subject): AddedColumn[] {
  return commandsOf(subject, "AT_AddColumn").flatMap(({ table, command }) => {
    const column = treeOf(command.def, "ColumnDef");
    if (column === undefined) return [];
    const constraints = treesOf(column.constraints, "Constraint");
    const byType = new Map(constraints.map((constraint) => [constraint.contype as ConstrType, constraint]));
    return [{ name: `${table}.${column.colname}`, column, constraints: byType }];
  });
}

/** Whether an expression may give each row another value. A function that is not known is assumed to. */
function isVolatile(expression: Node | undefined): boolean {
  return findAll({ expression }, "FuncCall").some(
    ({ funcname }) => !stable.includes(nameParts(funcname?.at(-1))[0] ?? ""),
  );
}

/** Whether PostgreSQL changes a type without rewriting the table: to text, or to more characters or digits. */
function isWidening(from: string, to: string): boolean {
  const [source, target] = [from, to].map((type) => /^(varchar|text|numeric)(?:\((\d+)(?:,(\d+))?\))?$/.exec(type));
  if (!source || !target) return from === to;
  const [kind, size, scale] = [source[1], Number(source[2] ?? Number.POSITIVE_INFINITY), source[3] ?? "0"];
  const wider = Number(target[2] ?? Number.POSITIVE_INFINITY) >= size;
  if (kind === "numeric")
    return target[1] === kind && wider && (target[2] === undefined || (target[3] ?? "0") === scale);
  return target[1] === "text" || (target[1] === "varchar" && wider);
}
