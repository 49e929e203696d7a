//! What is wrong with a set of policies, as it is told.

use std::{collections::BTreeMap, fmt};

use crate::{
    authz::Fault,
    domain::error::{Code, Detail, Error},
};

/// What is wrong with a text, or remarkable in it.
#[derive(Debug, Clone)]
pub struct PolicyFault {
    pub file: String,
    /// From 1; in characters.
    pub line: Option<u32>,
    pub column: Option<u32>,
    pub reason: String,
}

impl From<&Fault> for PolicyFault {
    fn from(fault: &Fault) -> Self {
        Self {
            file: fault.source.clone(),
            line: fault.line,
            column: fault.column,
            reason: fault.reason.clone(),
        }
    }
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl PolicyFault {
    fn detail(self) -> BTreeMap<&'static str, Detail> {
        let number = |n: u32| Detail::Number(u64::from(n));
        [
            Some(("file", Detail::Text(self.file))),
            self.line.map(|line| ("line", number(line))),
            self.column.map(|column| ("column", number(column))),
            Some(("reason", Detail::Text(self.reason))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The refusal of a set with faults.
pub(in crate::engine) fn faulty(faults: Vec<PolicyFault>) -> Error {
    let first = faults.first().map(ToString::to_string).unwrap_or_default();
    let told: Vec<_> = faults.into_iter().map(PolicyFault::detail).collect();
    let message = format!("the policies are not valid, and nothing was changed: {first}");
    Error::new(Code::ValidationFailed, message).with("errors", told)
}
