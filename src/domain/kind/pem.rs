//! PEM blocks (RFC 7468, and the headers of RFC 1421 that OpenSSL's traditional form still has).
//!
//! Reads labels and base64 without interpreting the content. Text outside of the blocks is passed over, as
//! RFC 7468 asks; lines may be of any length, as tools disagree on it. Not `x509_parser::pem`, which leaves
//! unwiped copies of what it decodes.

use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::decode;

/// One block.
pub(super) struct Block<'v> {
    /// What the block says it is, such as `CERTIFICATE`.
    pub(super) label: &'v str,
    /// Whether a header says that the content is encrypted.
    pub(super) encrypted_by_header: bool,
    /// The base64 text, with its line breaks.
    pub(super) body: &'v str,
}

impl<'v> Block<'v> {
    /// The content, unless it is empty or not well-formed base64.
    pub(super) fn decode(&self) -> Option<Zeroizing<Vec<u8>>> {
        let mut dense = Zeroizing::new(Vec::with_capacity(self.body.len()));
        dense.extend(self.body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        decode::base64(&STANDARD, &dense).filter(|content| !content.is_empty())
    }

    fn new(label: &'v str, text: &'v str) -> Self {
        let has_headers = text.lines().next().is_some_and(|line| line.contains(':'));
        let (headers, body) = if has_headers {
            split_at_blank_line(text)
        } else {
            ("", text)
        };
        let encrypted_by_header = headers.lines().any(|line| {
            line.split_once(':').is_some_and(|(name, value)| {
                name.trim() == "Proc-Type" && value.trim().ends_with(",ENCRYPTED")
            })
        });
        Self {
            label,
            encrypted_by_header,
            body: body.trim(),
        }
    }
}

/// The blocks of a text, or `None` when one doesn't end as it began.
pub(super) fn blocks(text: &str) -> Option<Vec<Block<'_>>> {
    let mut blocks = Vec::new();
    let mut open = None;
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        let start = end;
        end += line.len();
        if let Some(label) = boundary(line, "-----BEGIN ") {
            if open.replace((label, end)).is_some() {
                return None;
            }
        } else if let Some(label) = boundary(line, "-----END ") {
            let (begun, content) = open.take()?;
            if begun != label {
                return None;
            }
            blocks.push(Block::new(label, text.get(content..start)?));
        } else if ["-----BEGIN", "-----END"]
            .iter()
            .any(|mark| line.trim_start().starts_with(mark))
        {
            return None;
        }
    }
    open.is_none().then_some(blocks)
}

fn boundary<'v>(line: &'v str, begin: &str) -> Option<&'v str> {
    line.trim()
        .strip_prefix(begin)?
        .strip_suffix("-----")
        .filter(|label| !label.contains('-'))
}

/// What stands before the first blank line, and what stands after it.
fn split_at_blank_line(text: &str) -> (&str, &str) {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        end += line.len();
        if line.trim().is_empty() {
            return text.split_at_checked(end).unwrap_or((text, ""));
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_between_other_text() {
        let text = "Bag Attributes\r\n----- a line -----\r\n  -----BEGIN A B-----\r\nAAEC\r\nAw==\r\n-----END A B-----\r\nissuer=x\n\
                    -----BEGIN C-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: X,00\n\nBAUG\n-----END C-----";
        let blocks = blocks(text).unwrap();
        let labels: Vec<_> = blocks
            .iter()
            .map(|block| (block.label, block.encrypted_by_header))
            .collect();
        assert_eq!(labels, [("A B", false), ("C", true)]);
        let contents: Vec<_> = blocks
            .iter()
            .map(|block| block.decode().unwrap().to_vec())
            .collect();
        assert_eq!(contents, [vec![0, 1, 2, 3], vec![4, 5, 6]]);
    }

    #[test]
    fn blocks_that_do_not_end_as_they_began_are_refused() {
        for text in [
            "-----BEGIN A-----\nAAEC\n",
            "-----BEGIN A-----\nAAEC\n-----END B-----",
            "-----BEGIN A-----\n-----BEGIN A-----\n-----END A-----",
            "-----END A-----",
            "-----BEGIN A-----AAEC-----END A-----",
            "-----BEGIN A\nAAEC\n-----END A-----",
        ] {
            assert!(blocks(text).is_none(), "{text:?}");
        }
        assert!(blocks("no block at all").unwrap().is_empty());
    }

    #[test]
    fn content_that_is_empty_or_no_base64_is_refused() {
        for body in [
            "",
            "\n\n",
            "AAE",
            "AA=A",
            "A\u{e4}==",
            "a: b\n\n",
            "a: b\nAAEC",
        ] {
            let text = format!("-----BEGIN A-----\n{body}\n-----END A-----\n");
            assert!(blocks(&text).unwrap()[0].decode().is_none(), "{body:?}");
        }
    }
}
