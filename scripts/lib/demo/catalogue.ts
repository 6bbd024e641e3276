import type { OrderLine } from "./events.ts";
import type { Random } from "./random.ts";

const productCount = 40;

export const carriers: readonly string[] = ["DHL", "DHL", "DHL", "UPS", "Hermes"];
export const countries: readonly string[] = ["DE", "DE", "DE", "AT", "CH", "FR", "NL", "PL"];
const firstNames = ["Ada", "Alan", "Barbara", "Edsger", "Grace", "Hedy", "Jim", "Katherine", "Leslie", "Radia"];
const lastNames = ["Allen", "Bartik", "Codd", "Dahl", "Gray", "Hopper", "Kay", "Lamport", "Perlman", "Wirth"];

export function chooseName(random: Random): string {
  return `${random.pick(firstNames)} ${random.pick(lastNames)}`;
}

/** Most orders have one or two lines, and most lines one piece. The products of low numbers sell best. */
export function chooseLines(random: Random): OrderLine[] {
  const lines = new Map<number, OrderLine>();
  do {
    const product = Math.min(random.integer(1, productCount), random.integer(1, productCount));
    let quantity = 1;
    while (quantity < 9 && random.chance(0.25)) quantity++;
    lines.set(product, { sku: `P-${String(product).padStart(2, "0")}`, quantity, unitCents: unitCents(product) });
  } while (lines.size < 8 && random.chance(0.4));
  return [...lines.values()];
}

export function priceOf(lines: readonly OrderLine[]): number {
  return lines.reduce((sum, { quantity, unitCents }) => sum + quantity * unitCents, 0);
}

function unitCents(product: number): number {
  return 499 + ((product * product * 731) % 24_000);
}
