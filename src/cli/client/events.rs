//! Server-sent events (WHATWG HTML, section 9.2.6), as far as the vault sends them.

use super::failure::Failure;

/// The longest event that is read, in bytes.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// An event. One without data only moves the place to come back to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: Option<String>,
    pub(super) kind: String,
    pub(super) data: Option<String>,
}

/// Reads events out of the pieces that they come in.
#[derive(Default)]
pub(super) struct Parser {
    /// The line that is not complete.
    line: Vec<u8>,
    event: Event,
}

impl Parser {
    /// The events that a piece completes.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Vec<Event>, Failure> {
        let mut events = Vec::new();
        for byte in piece {
            if *byte != b'\n' {
                self.line.push(*byte);
                let held = self.event.data.as_ref().map_or(0, String::len);
                if self.line.len() + held > MAX_EVENT_BYTES {
                    let what = "the vault sent an event that is too long";
                    return Err(Failure::Foreign(what.to_owned()));
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            let line = line.strip_suffix('\r').unwrap_or(&line);
            if line.is_empty() {
                let event = std::mem::take(&mut self.event);
                events.extend((event != Event::default()).then_some(event));
            } else {
                self.field(line);
            }
        }
        Ok(events)
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.event.id = Some(value.to_owned()),
            "event" => self.event.kind = value.to_owned(),
            "data" => match &mut self.event.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.event.data = Some(value.to_owned()),
            },
            // A comment, or nothing that the vault sends.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = "retry: 2000\nid: 6\n\nid: 7\ndata: {\"a\":1}\n\n: heartbeat\nid: 9\n\nevent: end\r\n\
                    data: one\r\ndata: two\r\n\r\n: a comment alone\n\nid: 10\n";
        let event = |id: Option<&str>, kind: &str, data: Option<&str>| Event {
            id: id.map(str::to_owned),
            kind: kind.to_owned(),
            data: data.map(str::to_owned),
        };
        let expected = [
            event(Some("6"), "", None),
            event(Some("7"), "", Some("{\"a\":1}")),
            event(Some("9"), "", None),
            event(None, "end", Some("one\ntwo")),
        ];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let pieces = text.as_bytes().chunks(size);
            let found: Vec<_> = pieces
                .flat_map(|piece| parser.push(piece).unwrap())
                .collect();
            assert_eq!(found, expected, "{size}");
        }
        let mut parser = Parser::default();
        assert!(parser.push(&vec![b'x'; MAX_EVENT_BYTES + 1]).is_err());
    }
}
