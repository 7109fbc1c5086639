// Numbers, times and foreign texts as people read them. In: values of a snapshot. Out: strings; for a foreign text, pieces.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const three = new Intl.NumberFormat("en", { minimumSignificantDigits: 3, maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const calendar = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** Shown for unknown values. */
export const NONE = "\u2013";

/** A number with an SI prefix, as 12.3 M; small ones are whole. */
function scaled(number, unit, wholeBelow) {
  if (number < wholeBelow) return `${whole.format(number)}${unit && ` ${unit}`}`;
  let prefix = "";
  for (const next of ["k", "M", "G", "T", "P", "E"]) {
    // A number that would be rounded up to 1000 gets the next prefix.
    if (number < 999.5) break;
    number /= 1000;
    prefix = next;
  }
  return `${three.format(number)} ${prefix}${unit}`;
}

export const count = (number) => scaled(number, "", 1_000_000);
export const bytes = (number) => scaled(number, "B", 1_000);
export const exact = (number) => whole.format(number);
/** A number of things, with the words for one and for more. */
export const plural = (number, one, more = `${one}s`) => `${exact(number)} ${number === 1 ? one : more}`;
/** With its sign. */
export const signed = (number) => (number < 0 ? `\u2212${count(-number)}` : number > 0 ? `+${count(number)}` : "0");

/** A number in each second, without the unit. */
export function rate(number) {
  if (number === 0) return "0";
  return number < 9.95 ? tenths.format(number) : count(Math.round(number));
}

export function percent(share) {
  if (share === 0) return "0 %";
  return share < 0.001 ? "below 0.1 %" : `${tenths.format(share * 100)} %`;
}

/** A duration in its two largest units. */
export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return s < 600 ? `${Math.floor(s / 60)} min ${s % 60} s` : `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${whole.format(Math.floor(s / 86_400))} d ${Math.floor((s % 86_400) / 3600)} h`;
}

/** A short duration, as of a round trip. */
export function latency(seconds) {
  if (seconds < 0.0009995) return `${short.format(seconds * 1e6)} \u00b5s`;
  return seconds < 0.9995 ? `${three.format(seconds * 1000)} ms` : `${three.format(seconds)} s`;
}

/** A UNIX time. */
export const timeOfDay = (time) => clock.format(time * 1000);
export const dateAndTime = (time) => calendar.format(time * 1000);

// Characters that change how their neighbours look, or that are invisible: controls, marks of direction, those without width or
// meaning.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cn}\p{Co}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u;

/** Pieces of any text, [piece, whether it is escaped]. Invisible characters become \u{202e}. */
export function pieces(text) {
  const found = [];
  let seen = "";
  for (const character of text) {
    if (!UNSEEN.test(character)) {
      seen += character;
      continue;
    }
    if (seen) found.push([seen, false]);
    seen = "";
    found.push([`\\u{${character.codePointAt(0).toString(16)}}`, true]);
  }
  if (seen) found.push([seen, false]);
  return found;
}

/** Any text with invisible characters escaped. */
export const visible = (text) => pieces(text).map(([piece]) => piece).join("");
