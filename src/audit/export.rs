//! History in a file that proves itself: written as lines of JSON, verified with the public key alone.
//!
//! ```text
//! file    = part ‖ part ‖ …                   a second part where an export broke off and was resumed
//! part    = header ‖ (gap | record | removed | mark)* ‖ end
//! header    whose history, which filter, behind which record it begins, and the checkpoint that its lines lead to
//! record    what the log holds: readable, and as it is encoded, with the digest of its sealed form
//! gap       2^k records that are not shown, by the hash of their subtree
//! removed   how many records of a stretch of the log, of whatever workspace, retention removed: in front of their gaps
//! mark      every 512 lines: what came before is what the vault wrote, and leaves out nothing that the filter admits
//! end       the mark at the end; the lines come to the size and the root of the checkpoint
//! ```
//!
//! Each line after the header begins where the one before it ended, so the leaves of the records and the hashes of the
//! gaps fold into the root that the checkpoint signs: nothing is edited, missing, added or moved. That a gap hides only
//! what the filter leaves out, and what a line in front of it says that retention removed, is the vault's word, signed in
//! the marks:
//!
//! ```text
//! signature = Ed25519(audit-sign, "leasehold/v1/export\n" ‖ base64(SHA-256(bytes)) ‖ "\n")
//! bytes     = the part, from its header up to before `,"signature"` in the mark's own line
//! tags      = the first 8 bytes of SHA-256(line) for the header and each line since the mark before, base64
//! ```
//!
//! Tables and events may carry these lines, each beside the record that it has: see [`carried`].
//!
//! The tags tell which line is not the one that was signed. A line has one spelling: what reads differently from how it
//! would be written is refused.

pub mod carried;
mod extract;
mod line;
mod verify;
mod writer;

pub use self::{
    extract::{Exported, Extract, Gap, Item, Range},
    line::{At, FORMAT, Header},
    verify::{Lines, MAX_LINE_BYTES, Plain, Refused, Render, Verified, verify},
    writer::Writer,
};

/// What the signed bytes of a mark say they are.
const SIGNED: &str = "leasehold/v1/export";
/// Lines under one mark: bounds what is lost when an export breaks off, and what is read before it is known to be good.
const MARK_LINES: usize = 512;
/// Bytes of a line's digest in a mark.
const TAG_BYTES: usize = 8;

/// The message that a mark signs, of the digest of all before its signature.
fn signed(digest: &super::merkle::Hash) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    format!("{SIGNED}\n{}\n", STANDARD.encode(digest)).into_bytes()
}

/// What tells one line from another.
fn tag(line: &[u8]) -> [u8; TAG_BYTES] {
    let [a, b, c, d, e, f, g, h, ..] = super::leaf::digest(line);
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests;
