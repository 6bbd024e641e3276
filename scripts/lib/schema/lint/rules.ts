import type { Rule } from "./rule.ts";
import { columnRules } from "./rules/columns.ts";
import { constraintRules } from "./rules/constraints.ts";
import { eventStoreRules } from "./rules/event-store.ts";
import { indexRules } from "./rules/indexes.ts";
import { privilegeRules } from "./rules/privileges.ts";
import { rowRules } from "./rules/rows.ts";
import { tableRules } from "./rules/tables.ts";
import { transactionRules } from "./rules/transactions.ts";

/** A rule about a file as a whole, or about its text. */
export type OwnRule = Omit<Rule, "check">;

/** Rules that are applied to each statement. */
export const statementRules: readonly Rule[] = [
  ...indexRules,
  ...columnRules,
  ...constraintRules,
  ...tableRules,
  ...rowRules,
  ...transactionRules,
  ...eventStoreRules,
  ...privilegeRules,
];

/** Rules that the linter itself applies. They cannot be suppressed, except the first. */
export const ownRules = {
  needless: {
    id: "needless-no-transaction",
    group: "transactions",
    why: "Without a transaction, a failure leaves the statements before it applied.",
    better: "Remove the comment -- no-transaction",
  },
  syntax: {
    id: "syntax-error",
    group: "transactions",
    why: "PostgreSQL's parser refuses the file, and nothing else in it was checked.",
    better: "Fix the statement.",
  },
  metaCommand: {
    id: "syntax-error",
    group: "transactions",
    why: "Commands that begin with a backslash are those of psql; PostgreSQL does not know them.",
    better: "Remove the line. Connections and settings come from the runner; data is loaded by a seed.",
  },
  copyData: {
    id: "syntax-error",
    group: "transactions",
    why: "The lines after COPY … FROM STDIN are data for psql, not SQL.",
    better: "insert into … values …; or load the data with a seed",
  },
  placeholder: {
    id: "unknown-placeholder",
    group: "transactions",
    why: "Only :{database}, :{owner} and :{app} are replaced.",
    better: "Use one of these, or write the name itself.",
  },
  suppression: {
    id: "suppression",
    group: "transactions",
    why: "A suppression that explains or suppresses nothing hides the next finding.",
    better: "-- lint-ignore <rule>: <reason>, directly above the statement",
  },
} as const satisfies Record<string, OwnRule>;

/** IDs of all rules that can be suppressed. */
export const suppressibleRules: ReadonlySet<string> = new Set([
  ...statementRules.map(({ id }) => id),
  ownRules.needless.id,
]);
