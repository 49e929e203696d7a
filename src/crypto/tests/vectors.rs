//! Reads the files of `tests/vectors`: a line is `name = value`, `#` begins a comment.

pub(crate) const KEYS: Vectors = Vectors(include_str!("../../../tests/vectors/keys.txt"));
pub(crate) const BEARER: Vectors = Vectors(include_str!("../../../tests/vectors/bearer.txt"));
pub(crate) const SEALED: Vectors = Vectors(include_str!("../../../tests/vectors/sealed.txt"));
pub(crate) const REFUSED: Vectors = Vectors(include_str!("../../../tests/vectors/refused.txt"));

/// One file of vectors.
#[derive(Clone, Copy)]
pub(crate) struct Vectors(pub(crate) &'static str);

impl Vectors {
    /// Every line that is not a comment.
    pub(crate) fn pairs(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let lines = self.0.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| {
                let (name, value) = line.split_once('=').expect(line);
                (name.trim(), value.trim())
            })
    }

    /// The value of the one line with this name.
    pub(crate) fn text(self, name: &str) -> &'static str {
        let mut found = self.pairs().filter(|(at, _)| *at == name);
        let (_, value) = found.next().unwrap_or_else(|| panic!("no vector `{name}`"));
        assert!(found.next().is_none(), "two vectors `{name}`");
        value
    }

    /// The value as bytes, from hexadecimal.
    pub(crate) fn bytes(self, name: &str) -> Vec<u8> {
        unhex(self.text(name))
    }

    /// The value as so many bytes.
    pub(crate) fn array<const N: usize>(self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().expect(name)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd hexadecimal: {text}");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect(text))
        .collect()
}
