//! Texts of callers within Markdown: as text that stays text, and as code that nothing ends.

/// The longest text of a caller's that a cell shows, in characters.
pub(super) const MAX_CELL: usize = 200;
/// What stands for nothing.
pub(super) const NOTHING: &str = "–";

/// Characters that could drive a terminal or turn the direction of the text around them.
fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A text of somebody's as inert Markdown, in one line.
pub(super) fn inert(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 8);
    let mut before = ' ';
    for (at, c) in text.chars().enumerate() {
        if at == MAX_CELL {
            shown.push('…');
            break;
        }
        match c {
            '\n' | '\t' => shown.push(' '),
            c if is_odd(c) => shown.push('\u{fffd}'),
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            // The colon and the dot as well: a bare address would become a link.
            '\\' | '`' | '*' | '_' | '[' | ']' | '(' | ')' | '|' | '#' | '~' | '!' | ':' | '$'
            | '@' => {
                shown.push('\\');
                shown.push(c);
            }
            '.' if before == 'w' || before == 'W' => shown.push_str("\\."),
            c => shown.push(c),
        }
        before = c;
    }
    match shown.trim() {
        "" => NOTHING.to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

/// A text as code within a cell, where a pipe would end it even so.
pub(super) fn cell_code(text: &str) -> String {
    code(text).replace('|', "\\|")
}

/// A text as code, which nothing within it can end.
pub(super) fn code(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if is_odd(c) { '\u{fffd}' } else { c })
        .collect();
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    let space = if longest > 0 { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}
