/** The part of Emscripten's module that the bridge uses. */
export interface PgDumpModule {
  readonly ENV: Record<string, string>;
  readonly HEAPU8: Uint8Array;
  readonly FS: { readFile(path: string, options: { readonly encoding: "utf8" }): string };
  onRuntimeInitialized: () => void;
  addFunction(call: (pointer: number, length: number) => number, signature: "iii"): number;
  _pgl_set_rw_cbs(read: number, write: number): void;
  callMain(args: readonly string[]): number;
}

export interface PgDumpSettings {
  readonly thisProgram: string;
  readonly noExitRuntime: boolean;
  readonly instantiateWasm: (
    imports: WebAssembly.Imports,
    onInstance: (instance: WebAssembly.Instance, module: WebAssembly.Module) => void,
  ) => Record<string, never>;
  readonly print: (text: string) => void;
  readonly printErr: (text: string) => void;
  readonly onExit: (status: number) => void;
  readonly preRun: ((module: PgDumpModule) => void)[];
}

export function createPgDump(settings: PgDumpSettings): Promise<PgDumpModule>;
