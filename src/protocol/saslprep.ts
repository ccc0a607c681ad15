/**
 * SASLprep (RFC 4013) as PostgreSQL applies it to passwords (src/common/saslprep.c): where preparation fails, the password
 * is used as it is, never refused. Server and client must agree on the bytes, else a right password fails.
 *
 * Two checks of the RFC are left out: bidirectional text, and characters that Unicode 3.2 did not know. PostgreSQL uses
 * such a password unchanged and we normalise it (NFKC), so only those that NFKC would change differ. Passwords that
 * understudy makes are ASCII, for which preparation does nothing.
 */

/** RFC 3454 table B.1, "commonly mapped to nothing". */
const MAPPED_TO_NOTHING = /[\u00AD\u1806\u200B-\u200D\u2060\uFEFF]|\u034F|[\u180B-\u180D]|[\uFE00-\uFE0F]/gu
/** Table C.1.2, spaces other than U+0020. U+200B is in B.1 too; PostgreSQL looks here first. */
const OTHER_SPACES = /[\u00A0\u1680\u2000-\u200B\u202F\u205F\u3000]/gu
/** Tables C.2.1 to C.9: controls, private use, non-characters, surrogates, and what deprecates or tags. */
const PROHIBITED =
  /[\p{Cc}\p{Co}\p{Cs}\p{Noncharacter_Code_Point}\u06DD\u070F\u180E\u200C-\u200F\u2028-\u202E\u2060-\u2063\u206A-\u206F\u2FF0-\u2FFB\uFEFF\uFFF9-\uFFFD\u{1D173}-\u{1D17A}\u{E0001}\u{E0020}-\u{E007F}]|\u0340|\u0341/u
// biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is exactly this range
const ASCII_ONLY = /^[\x00-\x7F]*$/

/** The bytes of `password` that go into SCRAM. */
export function saslPrep(password: string): Buffer {
  if (ASCII_ONLY.test(password)) return Buffer.from(password, 'ascii')
  const prepared = password.replace(OTHER_SPACES, ' ').replace(MAPPED_TO_NOTHING, '').normalize('NFKC')
  return Buffer.from(prepared === '' || PROHIBITED.test(prepared) ? password : prepared, 'utf8')
}
