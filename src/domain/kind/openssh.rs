//! The envelope of OpenSSH's private keys (PROTOCOL.key), as far as ECDSA needs it.
//!
//! `ssh-key` reads every other algorithm, and reads ECDSA only with its `ecdsa` feature and the curve
//! arithmetic behind it. Facts need no arithmetic, so a point is not checked to be on its curve.

use std::str;

/// The algorithms, with the curve that the key itself must name.
const ALGORITHMS: [(&str, &str); 4] = [
    ("ecdsa-sha2-nistp256", "nistp256"),
    ("ecdsa-sha2-nistp384", "nistp384"),
    ("ecdsa-sha2-nistp521", "nistp521"),
    (SECURITY_KEY, "nistp256"),
];

const SECURITY_KEY: &str = "sk-ecdsa-sha2-nistp256@openssh.com";

/// The longest authentication tag that follows an encrypted key.
const MAX_TAG_BYTES: usize = 16;

/// What an unencrypted section is padded to a multiple of, by the bytes 1, 2, 3 and so on.
const BLOCK_BYTES: usize = 8;

/// What an ECDSA key shows.
pub(super) struct EcdsaKey<'a> {
    pub(super) algorithm: &'static str,
    /// The public key in its wire form, which is what a fingerprint is taken of.
    pub(super) public: &'a [u8],
    pub(super) encrypted: bool,
    /// Empty for an encrypted key, whose comment is encrypted too.
    pub(super) comment: &'a str,
}

/// Reads an envelope with one ECDSA key, or `None` when it is anything else.
pub(super) fn ecdsa_key(bytes: &[u8]) -> Option<EcdsaKey<'_>> {
    let mut envelope = Wire(bytes.strip_prefix(b"openssh-key-v1\0")?);
    let cipher = envelope.string()?;
    let (_kdf, _kdf_options) = (envelope.string()?, envelope.string()?);
    if envelope.number()? != 1 {
        return None;
    }
    let (public, private) = (envelope.string()?, envelope.string()?);

    let mut wire = Wire(public);
    let (name, named_curve, point) = (wire.string()?, wire.string()?, wire.string()?);
    let (algorithm, _) = ALGORITHMS.into_iter().find(|(algorithm, curve)| {
        name == algorithm.as_bytes() && named_curve == curve.as_bytes()
    })?;
    if algorithm == SECURITY_KEY {
        let _application = wire.string()?;
    }
    if point.is_empty() || !wire.0.is_empty() {
        return None;
    }

    let encrypted = cipher != b"none";
    let comment = if encrypted {
        ""
    } else {
        comment(private, public, algorithm)?
    };
    let trailing = if encrypted { MAX_TAG_BYTES } else { 0 };
    (envelope.0.len() <= trailing).then_some(EcdsaKey {
        algorithm,
        public,
        encrypted,
        comment,
    })
}

/// The comment of an unencrypted private section, or `None` when the section isn't that of `public`.
fn comment<'a>(private: &'a [u8], public: &[u8], algorithm: &str) -> Option<&'a str> {
    let mut wire = Wire(private);
    if wire.number()? != wire.number()? {
        return None;
    }
    // For both kinds the section repeats the public key, and then goes on with what is private.
    wire.0 = wire.0.strip_prefix(public)?;
    if algorithm == SECURITY_KEY {
        let (_flags, rest) = wire.0.split_first()?;
        wire.0 = rest;
        let (_handle, _reserved) = (wire.string()?, wire.string()?);
    } else {
        let _scalar = wire.string()?;
    }
    let comment = str::from_utf8(wire.string()?).ok()?;
    let padded =
        wire.0.len() < BLOCK_BYTES && wire.0.iter().zip(1..).all(|(byte, place)| *byte == place);
    padded.then_some(comment)
}

/// The types of RFC 4251, 5, read from the front.
struct Wire<'a>(&'a [u8]);

impl<'a> Wire<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (string, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(string)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{pem, samples},
        *,
    };

    #[test]
    fn an_envelope_that_is_cut_or_changed_in_its_frame_is_refused() {
        let bytes = pem::blocks(samples::SSH_ECDSA).unwrap()[0]
            .decode()
            .unwrap();
        assert!(ecdsa_key(&bytes).is_some());
        for end in 0..bytes.len() {
            assert!(ecdsa_key(&bytes[..end]).is_none(), "{end}");
        }
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(ecdsa_key(&longer).is_none());
        // The two check numbers stand before the second time that the key names its algorithm.
        let name = b"\0\0\0\x13ecdsa-sha2-nistp256";
        let private = bytes.windows(name.len()).rposition(|window| window == name);
        let private = private.unwrap();
        for changed in (private - 8..private + name.len()).chain([bytes.len() - 1]) {
            let mut bytes = bytes.to_vec();
            bytes[changed] ^= 0xff;
            assert!(ecdsa_key(&bytes).is_none(), "{changed}");
        }
    }

    #[test]
    fn a_security_key_is_read_to_its_comment() {
        let string =
            |text: &[u8]| [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text].concat();
        let public = [
            string(SECURITY_KEY.as_bytes()),
            string(b"nistp256"),
            string(&[4; 65]),
            string(b"ssh:"),
        ]
        .concat();
        let private = [
            &[7; 8][..],
            &public,
            &[1],
            &string(b"handle"),
            &string(b""),
            &string(b"token"),
            &[1, 2, 3],
        ]
        .concat();
        let none = [string(b"none"), string(b"none"), string(b"")].concat();
        let frame = [
            &b"openssh-key-v1\0"[..],
            &none,
            &[0, 0, 0, 1],
            &string(&public),
            &string(&private),
        ]
        .concat();
        let key = ecdsa_key(&frame).unwrap();
        assert_eq!(
            (key.algorithm, key.encrypted, key.comment),
            (SECURITY_KEY, false, "token")
        );
        assert_eq!(key.public, public);
    }
}
