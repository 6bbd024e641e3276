// What other programs rely on. Changing one of these tables breaks them: say so in the CHANGELOG.

/** Group roles. */
export const roleContract = {
  owner: "cqrs_owner",
  app: "cqrs_app",
  appOwner: "cqrs_app_owner",
} as const;

/** What an application gets if nothing is configured. */
export const defaultContract = {
  database: "cqrs_db",
  login: "cqrs_user",
  searchPath: "command_model, read_model, event_store, public",
} as const;

/** Paths of secrets. Both of the application have the same keys. */
export const secretContract = {
  paths: {
    application: "secret/cqrs-spike/database",
    applicationLocal: "secret/cqrs-spike/database-local",
    archiveKey: "secret/cqrs-spike/archive-key",
    superuser: "embedded/superuser",
  },
  /** Spring's four, then those for other languages. */
  keys: ["username", "password", "url", "driver-class-name", "host", "port", "database", "uri"],
  /** In external mode, with libpq's names. */
  tlsKeys: ["sslmode", "sslrootcert"],
} as const;

/** Exit codes of every script. */
export const exitCodeContract = {
  ok: 0,
  bug: 1,
  usage: 2,
  notReady: 3,
  drift: 4,
  locked: 5,
  authentication: 6,
  lint: 7,
  refused: 8,
  prerequisite: 9,
  pending: 10,
  verification: 11,
  deadLetters: 12,
  retired: 13,
  timeout: 124,
  sigint: 130,
  sigterm: 143,
} as const;

/** Keys of what `--json` prints, in order. */
export const jsonContract = {
  success: ["ok", "command", "durationMs", "data"],
  failure: ["ok", "error"],
  error: ["code", "message", "why", "fix"],
  bootstrap: ["mode", "url", "host", "port", "database", "user", "isChanged", "steps"],
  bootstrapStep: ["name", "isChanged", "detail", "durationMs"],
  bootstrapSteps: ["cluster", "server", "roles", "database", "schema", "credentials", "login"],
  status: [
    "projectDir",
    "mode",
    "isRunning",
    "version",
    "url",
    "pid",
    "port",
    "dataDirectory",
    "sizeBytes",
    "uptimeSeconds",
    "pendingMigrations",
    "schemaProblem",
    "logProblems",
    "logHolder",
    "secrets",
    "setUpBy",
    "stackProblems",
  ],
  secretsStatus: ["place", "location", "isReady", "versions"],
  secretsInit: ["place", "location", "isChanged", "details"],
  backup: ["archive", "id", "database", "tables", "rows", "lastPosition", "sizeBytes", "omitted"],
  restore: [
    "archive",
    "endedAt",
    "rows",
    "database",
    "eventsNow",
    "kept",
    "slots",
    "isRestored",
    "notRefreshed",
    "migrated",
    "redacted",
  ],
  lint: ["findings", "checked"],
  lintFinding: ["file", "line", "column", "rule", "message", "why", "better"],
  verification: ["ok", "checks"],
  verificationCheck: ["number", "id", "title", "result", "evidence", "why", "fix"],
  doctor: ["ok", "findings", "notChecked", "repairs"],
  doctorFinding: ["id", "symptom", "cause", "evidence", "fix", "repair"],
  doctorUnchecked: ["area", "reason"],
  doctorRepair: ["description", "error"],
  logs: ["lines"],
  reset: ["isReset", "database", "events", "isEmpty", "archive", "kept", "seeded"],
  seed: ["set", "file", "events", "appended"],
  /** The variables of `status --env`, also printed as `export` lines. */
  statusEnv: ["DATABASE_URL", "PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE"],
  /** More of them, in external mode. */
  statusEnvTls: ["PGSSLMODE", "PGSSLROOTCERT"],
} as const;

/** Ids of the checks of `verify`, in the order of their numbers. */
export const checkContract: readonly string[] = [
  "reachable",
  "health",
  "version",
  "identity",
  "data-directory",
  "disk-space",
  "logs",
  "durability",
  "schemas",
  "extensions",
  "migrations",
  "drift",
  "roles",
  "least-privilege",
  "credentials",
  "login",
  "pool",
  "immutability",
  "invariants",
  "epoch",
  "projections",
  "backup",
  "restart",
];

/** What people notice, as `doctor` names it. */
export const symptomContract: readonly string[] = [
  "does-not-start",
  "cannot-connect",
  "data-at-risk",
  "schema",
  "readers",
  "secrets",
];

/** SQLSTATEs that our functions raise. */
export const sqlStateContract = {
  UE001: "the stream is at another version",
  UE002: "the stream exists, none was expected",
  UE003: "the stream does not exist, one was expected",
  UE004: "an event id is taken",
  UE005: "the stream is archived",
  UE006: "events are immutable",
  UE007: "invalid arguments",
  UE008: "the log was rewound",
} as const;

/** What the readers return, one row per event. */
const recordedEvent =
  "TABLE(global_position bigint, stream_id uuid, aggregate_type character varying, aggregate_id uuid, aggregate_version integer, event_id uuid, event_type character varying, event_version integer, event_data jsonb, metadata jsonb, causation_id uuid, correlation_id uuid, occurred_at timestamp with time zone, aggregate_key text)";

/** Functions that an application may call: name, arguments and result as PostgreSQL prints them. */
export const functionContract: readonly (readonly [name: string, parameters: string, result: string])[] = [
  ["aggregate_id_of", "aggregate_key text", "uuid"],
  [
    "append",
    "INOUT stream_id uuid, aggregate_type character varying, aggregate_id uuid, expected_version integer, events jsonb, aggregate_key text, OUT first_version integer, OUT last_version integer, OUT last_position bigint, OUT deduplicated boolean",
    "record",
  ],
  ["append_batch", "appends jsonb", "SETOF append_result"],
  [
    "append_events",
    "p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_events jsonb[]",
    "uuid",
  ],
  ["archive_stream", "aggregate_type character varying, aggregate_id uuid, expected_version integer", "integer"],
  ["check_checkpoint", "checkpoint bigint, event_id uuid, epoch_id uuid", "uuid"],
  ["epoch_mismatch", "", "TABLE(fact text, recorded text, actual text)"],
  [
    "find_positions",
    "of_stream uuid, aggregate_types text[], event_types text[], after_position bigint, up_to_position bigint, max_count integer",
    "bigint[]",
  ],
  [
    "horizon_holder",
    "",
    "TABLE(held_position bigint, pid integer, gid text, login name, application_name text, state text, since timestamp with time zone)",
  ],
  ["last_drawn_position", "", "bigint"],
  [
    "load_snapshot",
    "aggregate_type character varying, aggregate_id uuid, state_version integer",
    "TABLE(aggregate_version integer, state jsonb, taken_at timestamp with time zone)",
  ],
  [
    "read_all",
    "after_position bigint, max_count integer, event_types text[], aggregate_types text[], up_to_position bigint, of_stream uuid",
    recordedEvent,
  ],
  [
    "read_stream",
    "aggregate_type character varying, aggregate_id uuid, after_version integer, max_count integer, backwards boolean, up_to_version integer, up_to_time timestamp with time zone, event_types text[]",
    recordedEvent,
  ],
  ["reopen_stream", "aggregate_type character varying, aggregate_id uuid", "integer"],
  [
    "resume_log",
    "checkpoint bigint, event_id uuid, epoch_id uuid, OUT safe_position bigint, OUT safe_event_id uuid, OUT current_epoch_id uuid",
    "record",
  ],
  ["safe_position", "", "bigint"],
  [
    "save_snapshot",
    "aggregate_type character varying, aggregate_id uuid, aggregate_version integer, state_version integer, state jsonb, redactions bigint",
    "boolean",
  ],
  ["stream_id_of", "aggregate_type character varying, aggregate_id uuid", "uuid"],
  [
    "stream_info",
    "aggregate_type character varying, aggregate_id uuid",
    "TABLE(stream_id uuid, version integer, created_at timestamp with time zone, updated_at timestamp with time zone, archived_at timestamp with time zone, aggregate_key text)",
  ],
];

/** Functions of the schema event_store that only other functions call, or roles that the owner has granted them to. */
export const internalFunctionContract: typeof functionContract = [
  [
    "advance_named_stream",
    "p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_count integer, p_aggregate_key text",
    "integer",
  ],
  [
    "advance_stream",
    "p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_count integer",
    "integer",
  ],
  [
    "append_detail",
    "expected integer, actual integer, aggregate_type character varying, aggregate_id uuid, aggregate_key text",
    "text",
  ],
  ["append_element", "append jsonb", "append_result"],
  [
    "append_problem",
    "aggregate_type character varying, aggregate_id uuid, expected_version integer, events jsonb, aggregate_key text",
    "text",
  ],
  [
    "append_refusal",
    "p_stream_id uuid, p_aggregate_type character varying, p_aggregate_id uuid, p_expected_version integer, p_events jsonb, p_aggregate_key text, p_advanced_from integer, OUT first_version integer, OUT last_version integer, OUT last_position bigint",
    "record",
  ],
  ["begin_epoch", "reason text, began_after bigint, skip_positions boolean", "uuid"],
  ["begin_redaction", "", "trigger"],
  ["check_redaction", "", "trigger"],
  ["element_aggregate_id", "append jsonb", "uuid"],
  ["event_id_problem", "event jsonb, key text, metadata_key text, place integer", "text"],
  ["hold_off_redaction", "p_stream_id uuid", "boolean"],
  ["is_event", "event jsonb", "boolean"],
  ["is_text_id", "event jsonb, key text", "boolean"],
  ["keep_text_ids", "events jsonb", "jsonb"],
  ["publish_floor", "", "trigger"],
  [
    "redact_event",
    "aggregate_type character varying, aggregate_id uuid, aggregate_version integer, reason text, event_data jsonb, metadata jsonb",
    "void",
  ],
  ["redaction_lock_key", "p_stream_id uuid", "bigint"],
  ["refuse_change", "", "trigger"],
  ["refuse_checkpoint", "p_position bigint, p_epoch_id uuid, p_branch_position bigint, p_problem text", "void"],
  [
    "server_identity",
    "OUT system_identifier bigint, OUT timeline integer, OUT database_oid oid, OUT data_directory text",
    "record",
  ],
  ["skip_positions", "drawn_elsewhere bigint", "bigint"],
];

/** Columns of each table by name: the type, with `?` if it is nullable. */
export const tableContract: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "event_store.event_stream": {
    stream_id: "uuid",
    aggregate_id: "uuid",
    created_at: "timestamp with time zone",
    version: "integer",
    aggregate_type: "character varying(255)",
    archived_at: "timestamp with time zone?",
    aggregate_key: "text?",
  },
  "event_store.domain_event": {
    global_position: "bigint",
    occurred_at: "timestamp with time zone",
    event_id: "uuid",
    stream_id: "uuid",
    aggregate_version: "integer",
    event_version: "integer",
    event_type: "character varying(255)",
    event_data: "jsonb",
    metadata: "jsonb?",
    causation_id: "uuid?",
    correlation_id: "uuid?",
  },
  "event_store.snapshot": {
    stream_id: "uuid",
    taken_at: "timestamp with time zone",
    aggregate_version: "integer",
    state_version: "integer",
    state: "jsonb",
    redactions: "bigint",
  },
  "event_store.redaction": {
    redacted_at: "timestamp with time zone",
    transaction_id: "xid8",
    stream_id: "uuid",
    aggregate_version: "integer",
    redacted_by: "name",
    reason: "text",
  },
  "event_store.log_epoch": {
    epoch_number: "integer",
    epoch_id: "uuid",
    began_after: "bigint",
    reason: "text",
    began_at: "timestamp with time zone",
    system_identifier: "bigint",
    timeline: "integer",
    database_oid: "oid",
    data_directory: "text?",
  },
  "read_model.inline_position": {
    name: "character varying(255)",
    version: "integer",
    backend_pid: "integer",
    position: "bigint",
  },
  "read_model.projection": {
    name: "character varying(255)",
    version: "integer",
    partition: "integer",
    checkpoint: "bigint",
    updated_at: "timestamp with time zone",
    token: "bigint",
  },
  "read_model.projection_version": {
    name: "character varying(255)",
    version: "integer",
    partition_count: "integer",
    status: "text",
    relations: "text[]",
    events: "text[]?",
    token: "bigint",
    owner: "text?",
    heartbeat_at: "timestamp with time zone?",
    expires_at: "timestamp with time zone?",
    created_at: "timestamp with time zone",
    served_at: "timestamp with time zone?",
  },
  "read_model.dead_letter": {
    name: "character varying(255)",
    version: "integer",
    stream_id: "uuid",
    aggregate_version: "integer",
    aggregate_type: "character varying(255)",
    aggregate_id: "uuid",
    event_type: "character varying(255)",
    attempts: "integer",
    error: "text?",
    updated_at: "timestamp with time zone",
    aggregate_key: "text?",
  },
  "public.schema_migration": {
    name: "text",
    checksum: "text",
    applied_at: "timestamp with time zone",
    applied_by: "name",
    duration_ms: "integer",
    source: "text",
    statements_done: "integer?",
    is_in_doubt: "boolean",
  },
};

/** Constraints and indexes by table. */
export const keyContract: Readonly<Record<string, readonly string[]>> = {
  "event_store.event_stream": [
    "event_stream_aggregate_type_idx",
    "event_stream_aggregate_type_is_not_empty",
    "event_stream_pkey",
    "event_stream_version_is_not_negative",
  ],
  "event_store.domain_event": [
    "domain_event_aggregate_version_is_positive",
    "domain_event_correlation_id_idx",
    "domain_event_event_id_key",
    "domain_event_event_type_global_position_idx",
    "domain_event_event_type_is_not_empty",
    "domain_event_event_version_is_positive",
    "domain_event_global_position_idx",
    "domain_event_occurred_at_idx",
    "domain_event_pkey",
  ],
  "event_store.snapshot": [
    "snapshot_aggregate_version_is_positive",
    "snapshot_pkey",
    "snapshot_state_version_is_positive",
  ],
  "event_store.redaction": ["redaction_pkey", "redaction_reason_is_not_empty"],
  "event_store.log_epoch": [
    "log_epoch_began_after_is_not_negative",
    "log_epoch_epoch_id_key",
    "log_epoch_epoch_number_is_positive",
    "log_epoch_pkey",
    "log_epoch_reason_is_not_empty",
  ],
  "read_model.inline_position": ["inline_position_pkey"],
  "read_model.projection": [
    "projection_checkpoint_is_not_negative",
    "projection_name_is_not_empty",
    "projection_partition_is_not_negative",
    "projection_pkey",
    "projection_version_is_positive",
  ],
  "read_model.projection_version": [
    "projection_version_name_is_not_empty",
    "projection_version_partition_count_is_positive",
    "projection_version_pkey",
    "projection_version_serving_idx",
    "projection_version_status_is_known",
    "projection_version_version_is_positive",
  ],
  "read_model.dead_letter": ["dead_letter_pkey"],
  "public.schema_migration": [
    "schema_migration_checksum_is_sha256",
    "schema_migration_pkey",
    "schema_migration_source_is_known",
    "schema_migration_statements_done_is_a_number",
  ],
};
