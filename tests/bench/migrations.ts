import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The migrations of a project in a folder of their own, which is removed when it is disposed of. */
export interface MigrationFolder extends AsyncDisposable {
  /** The project's SQL folder, with `migrations/` in it. */
  readonly dir: string;
  /** Paths of the files, in order. */
  readonly paths: readonly string[];
}

/** Writes migrations of the kinds that projects have. Any tool can run them. */
export async function writeMigrations(count: number): Promise<MigrationFolder> {
  const dir = await mkdtemp(join(tmpdir(), "cqrs-bench-sql-"));
  await mkdir(join(dir, "migrations"));
  const paths: string[] = [];
  for (let index = 0; index < count; index++) {
    const [name, text] = migration(index);
    const path = join(dir, "migrations", `${String(index + 1).padStart(4, "0")}-${name}.sql`);
    await writeFile(path, text);
    paths.push(path);
  }
  return { dir, paths, [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }) };
}

/** Four files make a module: two tables, a change of the first one, and what reads them. */
const kinds = [tables, positions, change, reader] as const;

function migration(index: number): readonly [name: string, text: string] {
  const module = Math.floor(index / kinds.length);
  return (kinds[index % kinds.length] as (typeof kinds)[number])(module);
}

function tables(module: number): [string, string] {
  return [
    `add-orders-${module}`,
    `-- Orders of module ${module}, as the pages of the shop show them.
create table read_model.order_${module} (
  order_id uuid not null,
  customer_id uuid not null,
  status text not null default 'open',
  currency char(3) not null,
  total_cents bigint not null,
  placed_at timestamptz not null,
  last_position bigint not null,
  constraint order_${module}_pkey primary key (order_id),
  constraint order_${module}_total_is_positive check (total_cents >= 0)
);

create index order_${module}_by_customer on read_model.order_${module} (customer_id, placed_at desc);
create index order_${module}_open on read_model.order_${module} (placed_at) where status = 'open';

comment on table read_model.order_${module} is 'One row per order; filled by the projection orders';
comment on column read_model.order_${module}.total_cents is 'Sum of all positions, in the smallest unit';
comment on column read_model.order_${module}.last_position is 'Global position of the last event that changed the row';
`,
  ];
}

function positions(module: number): [string, string] {
  return [
    `add-positions-${module}`,
    `create table read_model.position_${module} (
  position_id bigint generated always as identity,
  order_id uuid not null,
  sku text not null,
  quantity integer not null,
  unit_cents bigint not null,
  attributes jsonb not null default '{}',
  constraint position_${module}_pkey primary key (position_id),
  constraint position_${module}_order_fkey foreign key (order_id)
    references read_model.order_${module} (order_id) on delete cascade
);

create index position_${module}_by_order on read_model.position_${module} (order_id);
create index position_${module}_attributes on read_model.position_${module} using gin (attributes jsonb_path_ops);

comment on table read_model.position_${module} is 'The positions of each order';
`,
  ];
}

function change(module: number): [string, string] {
  return [
    `extend-orders-${module}`,
    `-- Orders can be cancelled; what was stored before was never cancelled.
alter table read_model.order_${module}
  add column cancelled_at timestamptz,
  add column note text not null default '';

alter table read_model.order_${module}
  add constraint order_${module}_status_is_known check (status in ('open', 'paid', 'shipped', 'cancelled')) not valid;
alter table read_model.order_${module} validate constraint order_${module}_status_is_known;

update read_model.order_${module} set note = 'imported' where placed_at < '2020-01-01';

comment on column read_model.order_${module}.cancelled_at is 'When it was cancelled; null: it was not';
`,
  ];
}

function reader(module: number): [string, string] {
  return module % 5 === 0 ? routine(module) : view(module);
}

function view(module: number): [string, string] {
  return [
    `add-revenue-${module}`,
    `create view read_model.revenue_${module} as
select date_trunc('day', placed_at) as day, currency, count(*) as orders, sum(total_cents) as cents
from read_model.order_${module}
where cancelled_at is null
group by 1, 2;

comment on view read_model.revenue_${module} is 'Revenue per day and currency, without cancelled orders';
`,
  ];
}

function routine(module: number): [string, string] {
  return [
    `add-total-of-order-${module}`,
    `create function read_model.total_of_order_${module}(wanted uuid) returns bigint
language plpgsql stable as $$
declare
  total bigint;
begin
  -- A semicolon in a comment; and one in a string: ';'
  select sum(quantity * unit_cents) into total from read_model.position_${module} where order_id = wanted;
  return coalesce(total, 0);
end;
$$;

comment on function read_model.total_of_order_${module}(uuid) is 'The sum of the positions of an order';
`,
  ];
}
