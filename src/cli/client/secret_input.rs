//! Where a credential's value and a lease's handle come from: a file, stdin, the environment (handles and
//! the API key only) or a hidden prompt. Never an argument.
//!
//! Guaranteed: what is read is held in one buffer that never moves while it grows and is wiped when
//! dropped; no more than its limit is read; stdin is read past the standard library's own buffer.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::failure::Failure;

/// The longest value, in bytes, as the API has it.
const MAX_VALUE_BYTES: usize = 64 * 1024;
/// The longest handle, in bytes; far over any there is, so that a wrong file is told from a handle.
const MAX_HANDLE_BYTES: usize = 4 * 1024;
/// The longest assertion of another issuer, in bytes, as the API has it.
const MAX_ASSERTION_BYTES: usize = 16 * 1024;
/// The environment variable that may hold a handle.
const HANDLE_VARIABLE: &str = "LEASEHOLD_HANDLE";

/// Where a credential's value comes from. Without a flag: stdin, or a hidden prompt on a terminal.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Value")]
pub(super) struct ValueArgs {
    /// Read the value from a file, `-` for stdin; without a flag it comes from stdin, or on a terminal from a hidden prompt
    #[arg(long, value_name = "FILE", conflicts_with = "value_stdin")]
    pub(super) value_file: Option<PathBuf>,
    /// Read the value from stdin, even on a terminal
    #[arg(long)]
    pub(super) value_stdin: bool,
    /// Keep the newline that the file or stdin ends with; one is removed otherwise
    #[arg(long)]
    pub(super) keep_newline: bool,
}

/// Where a lease's handle comes from.
#[derive(Debug, Default, clap::Args)]
pub(super) struct HandleArgs {
    /// Read the handle from a file; `-` is stdin
    #[arg(long, value_name = "FILE", conflicts_with = "handle_stdin")]
    pub(super) handle_file: Option<PathBuf>,
    /// Read the handle from stdin, even where LEASEHOLD_HANDLE is set
    #[arg(long)]
    pub(super) handle_stdin: bool,
}

/// The longest file of a certificate with its chain, or of a private key, in bytes.
const MAX_PEM_BYTES: usize = 64 * 1024;

/// The client certificate to show, and its key.
#[derive(Debug, Default, clap::Args)]
pub(super) struct CertificateArgs {
    /// Show this certificate, with its chain if it needs one, in place of an assertion; PEM
    #[arg(long, value_name = "FILE", requires_all = ["client_key", "issuer"], conflicts_with = "assertion_file")]
    pub(super) client_cert: Option<PathBuf>,
    /// The certificate's private key; PEM
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub(super) client_key: Option<PathBuf>,
}

impl CertificateArgs {
    /// Certificate and key as one PEM text, where they were given.
    pub(super) fn read(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        let (Some(certificate), Some(key)) = (&self.client_cert, &self.client_key) else {
            return Ok(None);
        };
        let certificate =
            Source::File(certificate).read("", "client certificate", MAX_PEM_BYTES)?;
        let key = Source::File(key).read("", "private key", MAX_PEM_BYTES)?;
        let mut pem = Zeroizing::new(String::with_capacity(certificate.len() + key.len() + 1));
        pem.push_str(&certificate);
        pem.push('\n');
        pem.push_str(&key);
        Ok(Some(pem))
    }
}

/// Where an assertion comes from.
#[derive(Debug, Default, clap::Args)]
pub(super) struct AssertionArgs {
    /// Read the assertion from a file; stdin otherwise
    #[arg(long, value_name = "FILE")]
    pub(super) assertion_file: Option<PathBuf>,
}

impl AssertionArgs {
    /// The assertion. Space around it is no part of it.
    pub(super) fn read(&self) -> Result<Zeroizing<String>, Failure> {
        let source = Source::choose(self.assertion_file.as_deref(), false);
        let text = source.read("Assertion: ", "assertion", MAX_ASSERTION_BYTES)?;
        let text = Zeroizing::new(text.trim().to_owned());
        bounded(text, "assertion", MAX_ASSERTION_BYTES)
    }
}

impl ValueArgs {
    /// The value of the credential `name`.
    pub(super) fn read(&self, name: &str) -> Result<Zeroizing<String>, Failure> {
        let source = Source::choose(self.value_file.as_deref(), self.value_stdin);
        let prompted = matches!(source, Source::Prompt);
        let mut value = source.read(&format!("Value of {name}: "), "value", MAX_VALUE_BYTES)?;
        if !prompted && !self.keep_newline {
            strip_newline(&mut value);
        }
        bounded(value, "value", MAX_VALUE_BYTES)
    }
}

impl HandleArgs {
    /// The handle. Space around it is no part of it.
    pub(super) fn read(&self) -> Result<Zeroizing<String>, Failure> {
        let explicit = self.handle_stdin || self.handle_file.is_some();
        let text = match from_environment(HANDLE_VARIABLE) {
            // An inherited stdin says nothing, and may never end: the variable goes first.
            Some(text) if !explicit => text,
            _ => Source::choose(self.handle_file.as_deref(), self.handle_stdin).read(
                "Handle: ",
                "handle",
                MAX_HANDLE_BYTES,
            )?,
        };
        bounded(
            Zeroizing::new(text.trim().to_owned()),
            "handle",
            MAX_HANDLE_BYTES,
        )
    }
}

/// A variable of the environment; none where it is unset, empty or not text.
pub(super) fn from_environment(name: &str) -> Option<Zeroizing<String>> {
    std::env::var(name)
        .ok()
        .filter(|text| !text.is_empty())
        .map(Zeroizing::new)
}

enum Source<'a> {
    File(&'a Path),
    Stdin,
    Prompt,
}

impl<'a> Source<'a> {
    fn choose(file: Option<&'a Path>, stdin: bool) -> Self {
        match file {
            Some(path) if path == Path::new("-") => Self::Stdin,
            Some(path) => Self::File(path),
            None if stdin || !io::stdin().is_terminal() => Self::Stdin,
            None => Self::Prompt,
        }
    }

    fn read(&self, prompt: &str, what: &str, limit: usize) -> Result<Zeroizing<String>, Failure> {
        let failed = |place: &str, error: io::Error| {
            Failure::Local(format!("cannot read the {what} from {place}: {error}"))
        };
        match self {
            Self::File(path) => {
                let place = format!("`{}`", path.display());
                let bytes = File::open(path).and_then(|file| read_all(file, limit));
                text(bytes.map_err(|error| failed(&place, error))?, what)
            }
            Self::Stdin => {
                let bytes = io::stdin()
                    .as_fd()
                    .try_clone_to_owned()
                    .and_then(|stdin| read_all(File::from(stdin), limit));
                text(bytes.map_err(|error| failed("stdin", error))?, what)
            }
            Self::Prompt => rpassword::prompt_password(prompt)
                .map(Zeroizing::new)
                .map_err(|error| failed("the terminal", error)),
        }
    }
}

/// Everything up to a little over `limit`: enough to see that it is too long, newline or not.
fn read_all(reader: impl Read, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let most = limit + 3;
    // Room for what `read_to_end` asks for before it sees the end, so that it never moves the buffer.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 64));
    reader.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(mut bytes: Zeroizing<Vec<u8>>, what: &str) -> Result<Zeroizing<String>, Failure> {
    String::from_utf8(std::mem::take(&mut *bytes))
        .map(Zeroizing::new)
        .map_err(|error| {
            drop(Zeroizing::new(error.into_bytes()));
            Failure::Local(format!(
                "the {what} is not UTF-8; encode it, for example as base64"
            ))
        })
}

fn strip_newline(text: &mut String) {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
}

fn bounded(
    text: Zeroizing<String>,
    what: &str,
    limit: usize,
) -> Result<Zeroizing<String>, Failure> {
    if text.is_empty() {
        return Err(Failure::Local(format!("the {what} is empty")));
    }
    if text.len() > limit {
        return Err(Failure::Local(format!(
            "the {what} is longer than {limit} bytes"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(content: &[u8], keep_newline: bool) -> Result<Zeroizing<String>, Failure> {
        let file = super::super::test_vault::TempFile::new(content);
        let path = Some(file.path().to_owned());
        ValueArgs {
            value_file: path,
            value_stdin: false,
            keep_newline,
        }
        .read("a")
    }

    #[test]
    fn one_newline_goes_unless_it_is_kept() {
        for (content, stripped) in [
            ("v", "v"),
            ("v\n", "v"),
            ("v\r\n", "v"),
            ("v\n\n", "v\n"),
            ("v\r", "v\r"),
            (" v \n", " v "),
        ] {
            assert_eq!(
                *value(content.as_bytes(), false).unwrap(),
                stripped,
                "{content:?}"
            );
            assert_eq!(*value(content.as_bytes(), true).unwrap(), content);
        }
    }

    #[test]
    fn what_cannot_be_a_value_is_refused_here_without_being_shown() {
        let long = [b'x'; MAX_VALUE_BYTES + 1];
        for content in [&b""[..], b"\n", b"s3cret\xff", &long] {
            let Err(Failure::Local(message)) = value(content, false) else {
                panic!("{content:?}");
            };
            assert!(!message.contains("s3cret"));
        }
        let mut longest = vec![b'x'; MAX_VALUE_BYTES];
        longest.extend(b"\r\n");
        assert_eq!(value(&longest, false).unwrap().len(), MAX_VALUE_BYTES);
    }

    #[test]
    fn a_long_read_neither_moves_the_buffer_nor_goes_on_for_ever() {
        let bytes = read_all(io::repeat(b'x'), MAX_VALUE_BYTES).unwrap();
        assert_eq!(bytes.len(), MAX_VALUE_BYTES + 3);
        assert_eq!(bytes.capacity(), MAX_VALUE_BYTES + 3 + 64);
    }

    #[test]
    fn a_missing_file_is_named() {
        let args = ValueArgs {
            value_file: Some("/nowhere/v".into()),
            ..ValueArgs::default()
        };
        let Err(Failure::Local(message)) = args.read("a") else {
            panic!()
        };
        assert!(
            message.starts_with("cannot read the value from `/nowhere/v`: "),
            "{message}"
        );
    }

    #[test]
    fn a_handle_has_no_space_around_it() {
        let file = super::super::test_vault::TempFile::new(b"  lhh_1 \n\n");
        let args = HandleArgs {
            handle_file: Some(file.path().to_owned()),
            handle_stdin: false,
        };
        assert_eq!(*args.read().unwrap(), "lhh_1");
    }
}
