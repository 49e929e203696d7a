//! What a command leaves on stdout and stderr. A reader that went away is no failure; a full disk is.

use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    process::ExitCode,
};

use zeroize::Zeroizing;

use super::{failure::Failure, json_text};

/// How answers are shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode {
    /// As the vault's JSON, not as text for people.
    pub(super) json: bool,
    /// On a terminal, not into a file or a pipe.
    pub(super) terminal: bool,
}

impl Mode {
    /// The mode of this process.
    pub(super) fn detect(json: bool) -> Self {
        Self {
            json,
            terminal: io::stdout().is_terminal(),
        }
    }

    /// The JSON as it is printed: one line for programs, indented on a terminal.
    pub(super) fn layout(self, json: &str) -> Zeroizing<String> {
        let mut text = if self.terminal {
            json_text::pretty(json)
        } else {
            json_text::compact(json)
        };
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }
}

/// What a command that worked has to say.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The result, for stdout.
    pub(super) out: Zeroizing<String>,
    /// What people should know about it, for stderr.
    pub(super) notes: String,
    /// Whether the process fails although the command worked.
    pub(super) failed: bool,
}

impl Report {
    /// A result without notes.
    pub(super) fn new(out: impl Into<Zeroizing<String>>) -> Self {
        Self {
            out: out.into(),
            ..Self::default()
        }
    }

    /// The report with a line for stderr.
    pub(super) fn with_note(mut self, line: &str) -> Self {
        self.notes.push_str(line);
        self.notes.push('\n');
        self
    }
}

/// Prints the outcome and answers the exit code.
pub(super) fn finish(outcome: Result<Report, Failure>, mode: Mode) -> ExitCode {
    let (out, notes, code) = match outcome {
        Ok(report) => (report.out, report.notes, u8::from(report.failed)),
        Err(failure) if mode.json => {
            let code = failure.exit_code();
            (mode.layout(&failure.json()), String::new(), code)
        }
        Err(failure) => (Zeroizing::default(), failure.text(), failure.exit_code()),
    };
    let written = write(io::stdout().lock(), &out);
    note(&notes);
    match written {
        Ok(()) => ExitCode::from(code),
        Err(error) => {
            note(&format!("error: cannot write the result: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line of a result that goes on; false where nobody reads it any more.
pub(super) fn line(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::Local(format!("cannot write the result: {error}"))),
    }
}

/// Says something on stderr. Nobody is left to tell if that fails.
pub(super) fn note(text: &str) {
    let _ = write(io::stderr().lock(), text);
}

fn write(mut to: impl Write, text: &str) -> io::Result<()> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_and_a_full_disk_is() {
        assert!(write(Broken(ErrorKind::BrokenPipe), "x").is_ok());
        assert!(write(Broken(ErrorKind::StorageFull), "x").is_err());
    }

    #[test]
    fn json_is_one_line_for_programs() {
        let mode = |terminal| Mode {
            json: true,
            terminal,
        };
        assert_eq!(*mode(false).layout("{ \"a\": 1 }"), "{\"a\":1}\n");
        assert_eq!(*mode(true).layout("{\"a\":1}"), "{\n  \"a\": 1\n}\n");
        assert_eq!(*mode(true).layout(""), "");
    }
}
