// "cqrs-postgres/stack": opens the event store of this project's stack with the application's credentials.
export { ScriptError } from "../cli/script-error.ts";
export { type ConnectOptions, connect } from "./connect.ts";
