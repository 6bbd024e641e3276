import type { Node } from "libpg-query";
import type { Catalog } from "./catalog.ts";

/**
 * Where a statement is: one of the file; in a DO block, which runs with the file; or in the body of a function or rule,
 * which runs later.
 */
export type Place = "file" | "block" | "body";

/** A statement, and what is known when it runs. */
export interface Subject {
  readonly node: Node;
  readonly place: Place;
  /** Path of the file. */
  readonly file: string;
  /** Whether the file begins with `-- no-transaction`. */
  readonly isOutsideTransaction: boolean;
  readonly searchPath: readonly string[];
  /** Values that ALTER TYPE … ADD VALUE has added in this file. */
  readonly addedValues: ReadonlySet<string>;
  /** The objects that exist before the statement. */
  readonly catalog: Catalog;
}

/** `event-store` rules are about the product's objects; they apply to the files of a project only. */
export type RuleGroup = "locks" | "transactions" | "event-store";

/** A rule as data. */
export interface Rule {
  /** In kebab-case; named by suppressions. */
  readonly id: string;
  readonly group: RuleGroup;
  /** What goes wrong without it. */
  readonly why: string;
  /** The better statement. */
  readonly better: string;
  /** The places it applies to. @default the file and its DO blocks */
  readonly places?: readonly Place[];
  /** @returns one message per violation */
  check(subject: Subject): readonly string[];
}

/** A violation. */
export interface Finding {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  /** ID of the rule. */
  readonly rule: string;
  readonly message: string;
  readonly why: string;
  readonly better: string;
}

/** @returns one message if a condition holds */
export function when(condition: boolean | undefined, message: string): readonly string[] {
  return condition === true ? [message] : [];
}
