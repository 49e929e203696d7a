//! Why a configuration can't be used: where the fault is, what it is, and what to do about it. One line, no values.

use std::{fmt, io, path::PathBuf};

use super::document::Position;

/// Why a configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read. The cause is part of the message, and hence not a source.
    #[error("cannot read the configuration file {}: {cause}; name another one with --config", .file.display())]
    Unreadable {
        /// The file, as it was named.
        file: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A key is unknown or its value is refused.
    #[error("{place}: {reason}")]
    Invalid {
        /// Where it was set.
        place: Place,
        /// What is wrong, with the key in backticks.
        reason: String,
    },
    /// A key without a default is set nowhere.
    #[error("`{key}` is not set: set it in the configuration file, as {variable}, or with {flag}")]
    Missing {
        /// The key's path in the file.
        key: &'static str,
        /// The variable that sets it.
        variable: String,
        /// The flag that sets it.
        flag: &'static str,
    },
}

/// Where a key was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the configuration file, at a position if it is known.
    File(PathBuf, Option<Position>),
    /// In an environment variable.
    Variable(String),
    /// By a flag.
    Flag(&'static str),
    /// Nowhere.
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file, Some(position)) => write!(f, "{}:{position}", file.display()),
            Self::File(file, None) => write!(f, "{}", file.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Default => f.write_str("default"),
        }
    }
}
