import type { ParsedStatement } from "../statements.ts";
import { type OwnRule, ownRules, suppressibleRules } from "./rules.ts";
import { findSuppressions, type Suppression } from "./suppressions.ts";

/** A violation of a rule by a statement. */
export interface Violation {
  readonly rule: OwnRule;
  readonly message: string;
  /** Index of the statement. */
  readonly statement: number;
}

/** A violation and its position in the text. */
export interface Placed {
  readonly rule: OwnRule;
  readonly message: string;
  /** In UTF-16 code units. */
  readonly offset: number;
}

/** Removes the violations that a comment suppresses, and adds those of the comments themselves. */
export async function applySuppressions(
  violations: readonly Violation[],
  text: string,
  statements: readonly ParsedStatement[],
): Promise<Placed[]> {
  const suppressions = await findSuppressions(text, statements);
  const isSuppressed = ({ rule, statement }: Violation) =>
    suppressions.some((found) => covers(found, rule.id, statement));
  const kept = violations
    .filter((violation) => !isSuppressed(violation))
    .map(({ rule, message, statement }) => ({ rule, message, offset: statements[statement]?.start ?? 0 }));
  const wrong = suppressions.flatMap((suppression) =>
    problems(suppression, violations).map((message) => ({
      rule: ownRules.suppression,
      message,
      offset: suppression.offset,
    })),
  );
  return [...kept, ...wrong].toSorted((one, other) => one.offset - other.offset);
}

function covers({ rules, reason, statement }: Suppression, rule: string, violating: number): boolean {
  return reason !== "" && statement === violating && rules.includes(rule);
}

function problems(suppression: Suppression, violations: readonly Violation[]): string[] {
  const { rules, reason, statement } = suppression;
  if (rules.every((rule) => rule === "")) return ["the suppression names no rule"];
  if (reason === "") return [`the suppression of ${rules.join(", ")} has no reason`];
  const violated = violations.filter((violation) => violation.statement === statement).map(({ rule }) => rule.id);
  return rules.flatMap((rule) => {
    if (!suppressibleRules.has(rule)) return [`there is no rule ${JSON.stringify(rule)}`];
    return violated.includes(rule) ? [] : [`the suppression of ${rule} suppresses nothing`];
  });
}
