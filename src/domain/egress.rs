//! Egress rules: which hosts, methods and paths a brokered credential may reach. Validated and stored with the
//! policy; the broker enforces them on the address that it dials.

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};

/// The most hosts, methods or paths in one rule.
const MAX_ENTRIES: usize = 64;
/// The longest host or path pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 512;

/// Where a brokered request may go. An empty list of methods or paths allows every one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// Host names, each exact or with one leading `*.` label; an optional `:port`.
    pub hosts: Vec<String>,
    /// HTTP methods in capitals.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Absolute paths, in which a final `*` matches any rest.
    #[serde(default)]
    pub paths: Vec<String>,
}

impl Egress {
    /// Refuses rules that cannot mean what they say.
    pub fn check(&self) -> Result<()> {
        if self.hosts.is_empty() {
            return Err(Error::invalid(
                "policy.egress.hosts",
                "`policy.egress.hosts` must name at least one host",
            ));
        }
        each(
            &self.hosts,
            "policy.egress.hosts",
            is_host,
            "a host name such as `api.example.com` or `*.example.com`",
        )?;
        each(
            &self.methods,
            "policy.egress.methods",
            is_method,
            "an HTTP method in capitals",
        )?;
        each(
            &self.paths,
            "policy.egress.paths",
            is_path,
            "an absolute path such as `/v1/*`, without `..`, `//` or escapes",
        )
    }
}

fn each(entries: &[String], field: &str, good: fn(&str) -> bool, expected: &str) -> Result<()> {
    if entries.len() > MAX_ENTRIES {
        return Err(Error::invalid(
            field,
            format!("`{field}` has more than {MAX_ENTRIES} entries"),
        )
        .with("limit", MAX_ENTRIES as u64));
    }
    match entries
        .iter()
        .position(|entry| entry.len() > MAX_PATTERN_BYTES || !good(entry))
    {
        None => Ok(()),
        Some(at) => Err(Error::invalid(
            format!("{field}[{at}]"),
            format!("`{field}[{at}]` is not {expected}"),
        )),
    }
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let port_ok = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let host = host.strip_prefix("*.").unwrap_or(host);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    port_ok && host.len() <= 253 && host.split('.').all(label)
}

fn is_method(text: &str) -> bool {
    matches!(
        text,
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS"
    )
}

fn is_path(text: &str) -> bool {
    let body = text.strip_suffix('*').unwrap_or(text);
    body.starts_with('/')
        && !body.contains('*')
        && !body.contains("//")
        && !body
            .split('/')
            .any(|segment| segment == "." || segment == "..")
        && body
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'%' | b'?' | b'#' | b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress(host: &str, method: &str, path: &str) -> Egress {
        Egress {
            hosts: vec![host.into()],
            methods: vec![method.into()],
            paths: vec![path.into()],
        }
    }

    #[test]
    fn rules_that_cannot_mean_what_they_say_are_refused() {
        for host in [
            "api.openai.com",
            "*.example.com",
            "localhost:8080",
            "127.0.0.1:9",
        ] {
            assert!(egress(host, "GET", "/v1/*").check().is_ok(), "{host}");
        }
        for host in [
            "",
            "*",
            "*.",
            "a..b",
            "-a.com",
            "API.com",
            "http://a.com",
            "a.com/",
            "a.com:0",
            "a.com:99999",
            "a.*.com",
            "a b",
            "user@a.com",
        ] {
            assert!(egress(host, "GET", "/").check().is_err(), "{host:?}");
        }
        for path in [
            "",
            "v1",
            "/v1/../admin",
            "/v1//x",
            "/%2e%2e",
            "/a*b",
            "/a?b",
            "/a b",
            "/a\\b",
            "/./a",
        ] {
            assert!(egress("a.com", "GET", path).check().is_err(), "{path:?}");
        }
        assert!(egress("a.com", "get", "/").check().is_err());
        assert!(
            Egress {
                hosts: vec![],
                methods: vec![],
                paths: vec![]
            }
            .check()
            .is_err()
        );
    }
}
