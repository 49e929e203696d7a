//! Configuration and policies that were damaged: refused in one line with a place, or taken.

use proptest::prelude::*;

use super::{
    Overrides,
    fixture::{Folder, load},
    policies,
};
use crate::domain::hostile::{any_or_nearly, cases};

const CONFIGURATION: &str = include_str!("../../config/leasehold.toml");
const POLICY: &str = include_str!("../../policies/production.toml");
const SMALL: &str = "[server]\nlisten = \"127.0.0.1:1\"\nrequest_timeout = \"30s\"\ntls = { cert = \"c\", key = \"k\" }\n[storage]\ndata_dir = \"d\"\ncache_bytes = 16777216\n";

/// An error is one line: it ends up in a log.
fn is_one_line(error: &str) {
    assert!(!error.is_empty() && !error.contains('\n'), "{error:?}");
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn damaged_configuration_is_refused_or_taken(text in any_or_nearly(&[CONFIGURATION, SMALL, SMALL])) {
        if let Err(error) = load(&text, &[], Overrides::default()) {
            is_one_line(&error);
        }
    }

    #[test]
    fn variables_are_refused_or_taken_and_not_repeated(
        name in any_or_nearly(&["SERVER__LISTEN", "SERVER__TLS__CERT", "LIMITS__REQUESTS_PER_MINUTE", "ROOT"]),
        value in any_or_nearly(&["127.0.0.1:1", "true", "600", "{a=1}", "[1]"]),
    ) {
        prop_assume!(!name.contains(['\0', '=']) && !value.contains('\0'));
        let value = format!("canary{value}");
        if let Err(error) = load(SMALL, &[(&format!("LEASEHOLD__{name}"), &value)], Overrides::default()) {
            prop_assert!(!error.contains("canary"), "{}", error);
        }
    }

    #[test]
    fn damaged_policies_are_refused_or_taken(text in any_or_nearly(&[POLICY, "max_leases = 5\ndelivery = [\"reveal\"]\negress = { hosts = [\"a.com\"] }"])) {
        let folder = Folder::new();
        folder.write("a.toml", &text);
        if let Err(error) = policies::load(folder.path()) {
            is_one_line(&error.to_string());
        }
    }
}
