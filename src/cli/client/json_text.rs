//! JSON text laid out anew without being read into values, so that every field keeps its place and every
//! number its digits. The input must be JSON; what is inside its strings stays as it is, but that a layout
//! for a terminal escapes the control characters that JSON allows.

use std::fmt::Write;

use zeroize::Zeroizing;

/// The JSON without space between its tokens.
pub(super) fn compact(json: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(json.len()));
    let mut string = StringState::default();
    for c in json.chars() {
        if string.covers(c) || !is_space(c) {
            text.push(c);
        }
    }
    text
}

/// The JSON indented by two spaces, safe to show on a terminal.
pub(super) fn pretty(json: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(json.len().saturating_mul(2)));
    let mut string = StringState::default();
    let mut depth = 0_usize;
    let mut rest = json.chars().peekable();
    while let Some(c) = rest.next() {
        if string.covers(c) {
            if c.is_control() {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            } else {
                text.push(c);
            }
            continue;
        }
        match c {
            '{' | '[' => {
                while rest.next_if(|next| is_space(*next)).is_some() {}
                text.push(c);
                match rest.next_if(|next| matches!(next, '}' | ']')) {
                    Some(end) => text.push(end),
                    None => {
                        depth += 1;
                        new_line(&mut text, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut text, depth);
                text.push(c);
            }
            ',' => {
                text.push(c);
                new_line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            _ if is_space(c) => {}
            _ => text.push(c),
        }
    }
    text
}

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    for _ in 0..depth {
        text.push_str("  ");
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}

/// Whether the reader is inside a string.
#[derive(Default)]
struct StringState {
    open: bool,
    escaped: bool,
}

impl StringState {
    /// Whether `c`, the next character, belongs to a string, its quotes included.
    fn covers(&mut self, c: char) -> bool {
        if !self.open {
            self.open = c == '"';
            return self.open;
        }
        match c {
            _ if self.escaped => self.escaped = false,
            '\\' => self.escaped = true,
            '"' => self.open = false,
            _ => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const ODD: &str =
        r#" { "z" : 1.10, "a":[ ] ,"b":{ },"c":[1 , "x \" , : { [ \\"] , "d":{"e":null} } "#;

    #[test]
    fn both_layouts_keep_order_and_content() {
        assert_eq!(
            *compact(ODD),
            r#"{"z":1.10,"a":[],"b":{},"c":[1,"x \" , : { [ \\"],"d":{"e":null}}"#
        );
        assert_eq!(
            *pretty(ODD),
            "{\n  \"z\": 1.10,\n  \"a\": [],\n  \"b\": {},\n  \"c\": [\n    1,\n    \
             \"x \\\" , : { [ \\\\\"\n  ],\n  \"d\": {\n    \"e\": null\n  }\n}"
        );
    }

    #[test]
    fn the_value_is_the_same_before_and_after() {
        let before: Value = serde_json::from_str(ODD).unwrap();
        for after in [compact(ODD), pretty(ODD)] {
            assert_eq!(before, serde_json::from_str::<Value>(&after).unwrap());
        }
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        let text = pretty("{\"a\":\"\u{9b}2J\u{7f}\"}");
        assert_eq!(*text, "{\n  \"a\": \"\\u009b2J\\u007f\"\n}");
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap()["a"],
            "\u{9b}2J\u{7f}"
        );
    }
}
