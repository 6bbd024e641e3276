/** Monday, when the shop opens. */
const opening = Date.UTC(2026, 0, 5, 8);
const secondsPerDay = 10 * 3600;
const daysPerWeek = 5;
const dayMs = 24 * 3_600_000;

/**
 * @param seconds business time, which passes from 8:00 to 18:00 UTC, Monday to Friday
 * @returns the moment on the calendar
 */
export function calendarTime(seconds: number): Date {
  const day = dayOf(seconds);
  const days = Math.floor(day / daysPerWeek) * 7 + (day % daysPerWeek);
  return new Date(opening + days * dayMs + (seconds % secondsPerDay) * 1000);
}

/** @returns the number of the business day; the first one is 0 */
export function dayOf(seconds: number): number {
  return Math.floor(seconds / secondsPerDay);
}

/** How busy each hour from 8:00 is, compared with the average. */
const hours = [0.5, 0.8, 1, 1.3, 1.5, 1, 0.8, 0.9, 1.2, 1];

/**
 * @param perDay average number of orders per day
 * @returns the probability that an order arrives in this second
 */
export function arrivalProbability(seconds: number, perDay: number): number {
  const hour = Math.floor((seconds % secondsPerDay) / 3600);
  return (perDay / secondsPerDay) * (hours[hour] as number);
}
