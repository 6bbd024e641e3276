import { describeValue, isCount, unknownKey } from "./check-options.ts";
import { InvalidInput } from "./errors.ts";
import type { Rewrite, RewrittenEvent, Upcaster, Upcasters, UpcastPlan } from "./upcast.ts";

type Step = Upcaster | Required<Rewrite>;
type Steps = ReadonlyMap<string, ReadonlyMap<number, Step>>;

const isEventVersion = isCount(1);

/**
 * Checks upcasters, and finds out which types become which.
 *
 * @throws {InvalidInput} if one is malformed, or if they form a cycle
 */
export function planUpcasts(upcasters: Upcasters): UpcastPlan {
  const byType = entriesOf("upcasters", upcasters, "a plain object of upcasters by event type and version");
  const steps = new Map(byType.map(([type, versions]) => [type, checkVersions(type, versions)] as const));
  refuseCycles(steps);
  const hasRewrites = [...steps.values()].some((versions) => rewritesOf(versions).length > 0);
  return { steps, hasRewrites, sources: findSources(steps) };
}

function checkVersions(type: string, versions: unknown): ReadonlyMap<number, Step> {
  const steps = entriesOf(`upcasters of ${type}`, versions, "a plain object of upcasters by version");
  return new Map(
    steps.map(([key, step]) => {
      const version = String(Number(key)) === key ? Number(key) : key;
      const problem = isEventVersion(version);
      if (problem === undefined) return [version as number, checkStep(`upcaster of ${type} version ${key}`, step)];
      throw new InvalidInput(`a version in upcasters of ${type} is ${describeValue(version)}; it must be ${problem}`);
    }),
  );
}

function checkStep(name: string, step: unknown): Step {
  if (typeof step === "function") return step as Upcaster;
  for (const [key] of entriesOf(name, step, "a function, or a plain object with into and rewrite")) {
    if (key !== "into" && key !== "rewrite") throw unknownKey(`${name} has no property`, key, ["into", "rewrite"]);
  }
  const { into, rewrite } = step as { readonly into?: unknown; readonly rewrite?: unknown };
  const targets = checkTargets(`into of the ${name}`, into);
  return { into: targets, rewrite: checkRewrite(name, rewrite, Object.keys(targets)).bind(step) };
}

function checkTargets(name: string, into: unknown): Rewrite["into"] {
  const targets = entriesOf(name, into, "a plain object of versions by event type, such as { OrderPlaced: 1 }");
  for (const [type, version] of targets) {
    const problem = isEventVersion(version);
    if (problem === undefined) continue;
    throw new InvalidInput(`${type} in ${name} is ${describeValue(version)}; it must be ${problem}`);
  }
  return Object.fromEntries(targets) as Rewrite["into"];
}

/** By default, an event is renamed or dropped. */
function checkRewrite(name: string, rewrite: unknown, types: readonly string[]): Required<Rewrite>["rewrite"] {
  if (typeof rewrite === "function") return rewrite as Required<Rewrite>["rewrite"];
  const isNeeded = types.length > 1;
  if (rewrite === undefined && !isNeeded) return (data): RewrittenEvent[] => types.map((type) => ({ type, data }));
  const why = isNeeded ? ", because into has several types" : "";
  throw new InvalidInput(`rewrite of the ${name} is ${describeValue(rewrite)}; it must be a function${why}`);
}

/** @throws {InvalidInput} if the value has no entries, as an array or a Map */
function entriesOf(name: string, value: unknown, problem: string): [string, unknown][] {
  if (/^\[object (Object|Module)\]$/.test(Object.prototype.toString.call(value)))
    return Object.entries(value as object);
  throw new InvalidInput(`${name} is ${describeValue(value)}; it must be ${problem}`);
}

/** Every event would be converted without end. */
function refuseCycles(steps: Steps): void {
  const ending = new Set<string>();
  const follow = (type: string, version: number, path: readonly string[]): void => {
    const name = `${type} version ${version}`;
    if (ending.has(name)) return;
    if (path.includes(name)) {
      const cycle = [...path.slice(path.indexOf(name)), name].join(" → ");
      throw new InvalidInput(`upcasters form a cycle: ${cycle}; raise the version, or remove one of them`);
    }
    const step = steps.get(type)?.get(version);
    for (const [next, itsVersion] of nextOf(type, version, step)) follow(next, itsVersion, [...path, name]);
    ending.add(name);
  };
  for (const [type, versions] of steps) for (const version of versions.keys()) follow(type, version, []);
}

/** @returns what an event becomes in one step */
function nextOf(type: string, version: number, step: Step | undefined): readonly (readonly [string, number])[] {
  if (step === undefined) return [];
  return typeof step === "function" ? [[type, version + 1]] : Object.entries(step.into);
}

function rewritesOf(versions: ReadonlyMap<number, Step> | undefined): Required<Rewrite>[] {
  return [...(versions?.values() ?? [])].filter((step) => typeof step === "object");
}

function findSources(steps: Steps): ReadonlyMap<string, readonly string[]> {
  const sources = new Map<string, string[]>();
  for (const type of steps.keys()) {
    for (const target of targetsOf(type, steps)) sources.set(target, [...(sources.get(target) ?? []), type]);
  }
  return sources;
}

/** @returns the types that events of a type may become, in any number of steps */
function targetsOf(type: string, steps: Steps): ReadonlySet<string> {
  const targets = new Set<string>();
  const add = (from: string): void => {
    for (const target of rewritesOf(steps.get(from)).flatMap(({ into }) => Object.keys(into))) {
      if (targets.has(target)) continue;
      targets.add(target);
      add(target);
    }
  };
  add(type);
  return targets;
}
