/** What can happen next: a label "actor: step", and the state after it. */
export type Next<State> = readonly [label: string, state: State];

/** States are plain immutable values; two with the same JSON are one. */
export interface Model<State, Fault extends string> {
  readonly initial: State;
  readonly next: (state: State) => Iterable<Next<State>>;
  readonly faultOf: (state: State) => Fault | undefined;
}

/** The nearest state with a fault, if there is one, and the steps that lead to it. */
export interface Exploration<Fault extends string> {
  readonly states: number;
  readonly fault?: Fault;
  readonly story: readonly string[];
}

interface Visit<State> {
  readonly state: State;
  readonly label: string;
  readonly previous?: Visit<State>;
}

/** Visits every state, nearest first, until one has a fault that is not tolerated. */
export function explore<State, Fault extends string>(
  model: Model<State, Fault>,
  tolerated: readonly Fault[] = [],
): Exploration<Fault> {
  const queue: Visit<State>[] = [{ state: model.initial, label: "" }];
  const seen = new Set([JSON.stringify(model.initial)]);
  for (const visit of queue) {
    const fault = model.faultOf(visit.state);
    if (fault !== undefined && !tolerated.includes(fault)) return { states: seen.size, fault, story: storyOf(visit) };
    for (const [label, state] of model.next(visit.state)) {
      const key = JSON.stringify(state);
      if (seen.has(key)) continue;
      seen.add(key);
      queue.push({ state, label, previous: visit });
    }
  }
  return { states: seen.size, story: [] };
}

/** One line for consecutive steps of one actor. */
function storyOf<State>({ previous, label }: Visit<State>): string[] {
  if (previous === undefined) return [];
  const story = storyOf(previous);
  const [actor, step] = label.split(": ");
  const last = story.at(-1);
  return last?.startsWith(`${actor}: `) ? [...story.slice(0, -1), `${last}, ${step}`] : [...story, label];
}
