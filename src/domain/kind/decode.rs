//! Decoding of secret text, into buffers that are wiped when they are dropped and never grow.

use base64::{Engine, engine::GeneralPurpose};
use zeroize::Zeroizing;

/// The bytes that base64 text stands for.
pub(super) fn base64(engine: &GeneralPurpose, text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // `decode_vec` resizes to the estimate: with that capacity there is no copy left behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(base64::decoded_len_estimate(text.len())));
    engine.decode_vec(text, &mut bytes).ok()?;
    Some(bytes)
}

/// The text that percent-encoded text stands for, unless it isn't UTF-8. A lone `%` stands for itself.
pub(super) fn percent(text: &str) -> Option<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let [first, after_first @ ..] = rest {
        let escape = match rest {
            [b'%', high, low, after @ ..] => {
                nibble(*high).zip(nibble(*low)).map(|pair| (pair, after))
            }
            _ => None,
        };
        if let Some(((high, low), after)) = escape {
            bytes.push(high << 4 | low);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after_first;
        }
    }
    // By reference: the error of `String::from_utf8` would keep the bytes.
    let text = std::str::from_utf8(&bytes).ok()?;
    Some(Zeroizing::new(text.to_owned()))
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_where_it_is_one() {
        for (encoded, text) in [
            ("", ""),
            ("p%40ss%2fw%C3%A4%2B+", "p@ss/wä++"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%zz%+1%%41", "%zz%+1%A"),
        ] {
            assert_eq!(percent(encoded).unwrap().as_str(), text);
        }
        assert!(percent("%ff").is_none());
    }
}
