//! Secrets in the wrong place: an API key pasted into a purpose, a handle in a path. History, which keeps what it is
//! told for years, takes none of them. What is told apart here is the vault's own bearer strings, signed tokens, and in
//! names of what does not exist anything that looks drawn by chance.

use super::id;

/// What a bearer string of the vault's own, or a JWT, begins with.
const MARKS: [&str; 3] = ["lhk_", "lhh_", "eyJ"];
/// The shortest of them that could be of use to somebody, in bytes, its mark included.
const MIN_BEARER: usize = 20;
/// Letters and digits in a row, both of them, that no person would choose for a name.
const MIN_RANDOM: usize = 20;
/// The longest name in a path that history remembers, in bytes.
const MAX_NAMED: usize = 200;

fn is_bearer(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// The first bearer string in a text: where it begins, where its mark ends, and where it ends.
fn bearer(text: &str) -> Option<(usize, usize, usize)> {
    let marked = text
        .as_bytes()
        .windows(3)
        .any(|at| matches!(at, b"lhk" | b"lhh" | b"eyJ"));
    if !marked {
        return None;
    }
    let found = MARKS.iter().flat_map(|mark| {
        text.match_indices(mark).filter_map(|(at, mark)| {
            let rest = text.get(at..)?;
            let len = rest.bytes().take_while(|byte| is_bearer(*byte)).count();
            (len >= MIN_BEARER).then_some((at, at + mark.len(), at + len))
        })
    });
    found.min()
}

/// Replaces every bearer string in a text by its mark and `…`.
pub fn mask<T: AsRef<str> + From<String>>(text: &mut T) {
    let mut found = bearer(text.as_ref());
    if found.is_none() {
        return;
    }
    let mut masked = text.as_ref().to_owned();
    // Each turn shortens the text, or at its shortest leaves too little for another.
    while let Some((_, kept, end)) = found {
        masked.replace_range(kept..end, "…");
        found = bearer(&masked);
    }
    *text = masked.into();
}

/// The path parameters of a request whose answer was an error, as far as they may be remembered: ids, and names that
/// look like names.
pub fn is_harmless_name(text: &str) -> bool {
    if text.len() > MAX_NAMED || bearer(text).is_some() {
        return false;
    }
    if id::is_id(text) {
        return true;
    }
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let mut runs = text.split(['.', '_', '-']);
    text.bytes().all(plain)
        && !runs.any(|run| {
            let digits = run.bytes().filter(u8::is_ascii_digit).count();
            run.len() >= MIN_RANDOM && digits > 0 && digits < run.len()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let mut text = text.to_owned();
        mask(&mut text);
        text
    }

    #[test]
    fn bearer_strings_are_masked_wherever_they_stand() {
        let key = format!("lhk_{}", "aB3".repeat(24));
        let handle = format!("lhh_{}", "Zz9".repeat(24));
        let jwt = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl_-x";
        assert_eq!(masked(&key), "lhk_…");
        assert_eq!(
            masked(&format!("take {handle}, or {jwt}; not {key}!")),
            "take lhh_…, or eyJ…; not lhk_…!"
        );
        assert_eq!(masked(&format!("é{handle}{key}é")), "élhh_…é");
        for harmless in [
            "",
            "nightly run",
            "what is lhk_ for?",
            "lhk_short",
            "eyJ",
            "über",
        ] {
            assert_eq!(masked(harmless), harmless);
        }
    }

    #[test]
    fn what_looks_drawn_by_chance_is_no_name() {
        for name in [
            "stripe-key",
            "agent",
            "3",
            "ci-bot.2026_06",
            "lse_0123456789abcdef0123456789abcdef",
        ] {
            assert!(is_harmless_name(name), "{name}");
        }
        for secret in [
            "sk-proj-AbC",
            "lhk_aaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "ghp-0123456789abcdefghij",
            "0123456789abcdef0123456789abcdef",
            "xyz_0123456789abcdef0123456789abcdef",
            "a b",
            "é",
            &"a".repeat(201),
        ] {
            assert!(!is_harmless_name(secret), "{secret}");
        }
    }
}
