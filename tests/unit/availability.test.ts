import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Availability } from "../../scripts/lib/event-store/availability.ts";
import { recordingLogger } from "../support/recording-logger.ts";

const refused = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" });
const terminated = Object.assign(new Error("terminating connection"), { code: "57P01", parameters: ["secret"] });

const realNow = performance.now;
let now = 0;
beforeEach(() => {
  now = 1_000;
  performance.now = () => now;
});
afterEach(() => {
  performance.now = realNow;
});

function open() {
  const { logger, reports } = recordingLogger();
  return { availability: new Availability(logger), reports };
}

test("retries give up after 5 seconds if the server has never answered", () => {
  const { availability } = open();
  const [first, second] = [availability.retries(), availability.retries()];
  first.failed(refused);
  now += 4_999;
  first.failed(refused);
  second.failed(refused);
  now += 1;
  assert.throws(() => first.failed(refused), refused);
  // Each caller has its own 5 seconds.
  second.failed(refused);
});

test("retries go on without limit once any connection has succeeded", () => {
  const { availability } = open();
  availability.answered();
  const retries = availability.retries();
  for (let attempt = 0; attempt < 20; attempt++) {
    retries.failed(refused);
    now += 60_000;
  }
});

test("an outage is reported once, then every 10 seconds, and its end once", () => {
  const { availability, reports } = open();
  availability.answered();
  const [one, other] = [availability.retries(), availability.retries()];
  for (let session = 0; session < 10; session++) availability.sessionLost(terminated);
  for (now += 100; now < 22_000; now += 100) {
    one.failed(refused);
    other.failed(refused);
  }
  one.succeeded();
  other.succeeded();
  assert.deepEqual(reports, [
    ["warn", "lost a connection to the server: terminating connection (57P01)", { code: "57P01" }],
    ["warn", "waiting for the server: connect ECONNREFUSED", { code: "ECONNREFUSED" }],
    ["warn", "waiting for the server: connect ECONNREFUSED", { code: "ECONNREFUSED" }],
    ["info", "the server answers again, after 21 s", { seconds: 21 }],
  ]);
});

test("connections that the server closes one by one are one outage", () => {
  const { availability, reports } = open();
  for (let session = 0; session < 5; session++) {
    availability.answered();
    availability.sessionLost(terminated);
    now += 50;
  }
  availability.answered();
  assert.deepEqual(
    reports.map(([level]) => level),
    ["warn", "info"],
  );
});

test("a later outage is reported again", () => {
  const { availability, reports } = open();
  for (let outage = 0; outage < 2; outage++) {
    availability.answered();
    availability.sessionLost(terminated);
    now += 100;
    availability.answered();
    now += 1_001;
  }
  assert.deepEqual(
    reports.map(([level]) => level),
    ["warn", "info", "warn", "info"],
  );
});

test("retries that never failed report nothing", () => {
  const { availability, reports } = open();
  availability.retries().succeeded();
  assert.deepEqual(reports, []);
});
