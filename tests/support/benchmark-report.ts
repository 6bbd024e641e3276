import { type Measured, median, medianInterval } from "./benchmark.ts";
import type { Cost } from "./benchmark-cost.ts";

/** An aim of a benchmark: a ratio of two variants. */
export interface Aim {
  readonly figure: keyof Cost;
  readonly of: string;
  readonly against: string;
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** The subject of a table of costs. */
export interface CostReport {
  /** What was measured, with how many events and callers. */
  readonly title: string;
  readonly measured: readonly Measured<Cost>[];
  /** The reference variant of the ratios. */
  readonly reference: string;
  readonly aims: readonly Aim[];
}

const columns: readonly { readonly figure: keyof Cost; readonly title: string; readonly digits: number }[] = [
  { figure: "eventsPerSecond", title: "events/s", digits: 0 },
  { figure: "serverMicroseconds", title: "server µs", digits: 1 },
  { figure: "clientMicroseconds", title: "client µs", digits: 1 },
  { figure: "walBytes", title: "WAL bytes", digits: 0 },
];

const titles = Object.fromEntries(columns.map(({ figure, title }) => [figure, title])) as Record<keyof Cost, string>;

/** Prints the median of each figure with its ratio to the reference variant, then which aims are met. */
export function reportCosts({ title, measured, reference, aims }: CostReport): void {
  const width = Math.max(...measured.map(({ name }) => name.length));
  const rounds = measured[0]?.measures.length ?? 0;
  console.log(`\n${title}`);
  console.log(`medians of ${rounds} rounds; × is the ratio to ${reference}, the median of the rounds' own ratios`);
  console.log(
    `${"".padEnd(width)} ${columns.map((column) => column.title.padStart(10).padEnd(17)).join("")}slowest–fastest`,
  );
  for (const { name, measures } of measured) {
    const figures = columns.map(({ figure, digits }) => {
      const value = median(measures.map((measure) => measure[figure]));
      const ratio = ratioOf(measured, figure, name, reference);
      return `${number(value, digits).padStart(10)} ${`${number(ratio, 2)}×`.padEnd(6)}`;
    });
    const rates = measures.map(({ eventsPerSecond }) => eventsPerSecond);
    const range = `${number(Math.min(...rates), 0)}–${number(Math.max(...rates), 0)}`;
    console.log(`${name.padEnd(width)} ${figures.join("")}${range}`);
  }
  for (const aim of aims) console.log(aimLine(measured, aim));
}

/** Prints the ratio of each figure of the first variant to the second: the median of the rounds, and its interval. */
export function reportIntervals(title: string, measured: readonly Measured<Cost>[]): void {
  const [ours, theirs] = measured;
  console.log(`\n${title}\n${ours?.name} / ${theirs?.name}: median of ${ours?.measures.length} rounds, 95 % interval`);
  for (const { figure, title, digits } of columns) {
    const ratios = ratiosOf(ours?.measures ?? [], theirs?.measures ?? [], figure);
    const [from, to] = medianInterval(ratios);
    const value = median((ours?.measures ?? []).map((cost) => cost[figure]));
    console.log(
      `${title.padEnd(10)} ${number(value, digits).padStart(10)}  ${number(median(ratios), 3)} (${number(from, 3)}–${number(to, 3)})`,
    );
  }
}

function aimLine(measured: readonly Measured<Cost>[], { figure, of, against, atLeast, atMost }: Aim): string {
  const ratio = ratioOf(measured, figure, of, against);
  const isMet = ratio >= (atLeast ?? 0) && ratio <= (atMost ?? Number.POSITIVE_INFINITY);
  const bound = atLeast === undefined ? `≤ ${atMost}` : `≥ ${atLeast}`;
  return `aim: ${titles[figure]} of ${of} ${bound} × ${against}: ${number(ratio, 2)}, ${isMet ? "met" : "MISSED"}`;
}

/** The median of the ratios per round, since both variants of a round ran under the same load. */
function ratioOf(measured: readonly Measured<Cost>[], figure: keyof Cost, of: string, against: string): number {
  const [ours, theirs] = [of, against].map((name) => measured.find((variant) => variant.name === name)?.measures ?? []);
  return median(ratiosOf(ours ?? [], theirs ?? [], figure));
}

function ratiosOf(ours: readonly Cost[], theirs: readonly Cost[], figure: keyof Cost): number[] {
  return ours.map((cost, round) => cost[figure] / (theirs[round]?.[figure] ?? Number.NaN));
}

function number(value: number, digits: number): string {
  if (!Number.isFinite(value)) return "-";
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
