//! What of a question a policy can look at. Building a fact costs more than evaluating a rule, so only those are built
//! that some policy in question reads. Names are taken wherever they are read from, which can only be too many.

use serde_json::Value;

/// The attributes that are left out where no policy reads them, by the bit that stands for each.
const OPTIONAL: [&str; 18] = [
    "scope",
    "scopes",
    "organisation",
    "hour",
    "weekday",
    "source_ip",
    "holder",
    "requested_by",
    "delivery",
    "purpose",
    "session",
    "ttl_seconds",
    "lifetime_seconds",
    "reveal",
    "value",
    "name",
    "type",
    "role",
];

/// The facts that policies read.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Needs {
    everything: bool,
    /// Of [`OPTIONAL`].
    attributes: u32,
    tags: bool,
    labels: bool,
}

fn bit(attribute: &str) -> Option<u32> {
    let place = OPTIONAL.iter().position(|known| *known == attribute)?;
    1_u32.checked_shl(u32::try_from(place).ok()?)
}

impl Needs {
    /// Every fact there is.
    pub(super) fn everything() -> Self {
        Self {
            everything: true,
            ..Self::default()
        }
    }

    /// Whether an attribute of that name is read, of the context or of an entity.
    pub(super) fn attribute(&self, name: &str) -> bool {
        self.everything || bit(name).is_none_or(|bit| self.attributes & bit != 0)
    }

    /// Whether tags are read of anything but the caller.
    pub(super) fn tags(&self) -> bool {
        self.everything || self.tags
    }

    /// Whether tags of the caller may be read.
    pub(super) fn labels(&self) -> bool {
        self.everything || self.labels
    }

    /// What a policy, in Cedar's JSON, reads.
    pub(super) fn of(policy: &Value) -> Self {
        let mut needs = Self::default();
        needs.read(policy.get("conditions").unwrap_or(policy));
        needs
    }

    fn read(&mut self, expression: &Value) {
        match expression {
            Value::Array(several) => several.iter().for_each(|one| self.read(one)),
            Value::Object(fields) => {
                for (operator, operand) in fields {
                    self.read_operator(operator, operand);
                }
            }
            _ => {}
        }
    }

    fn read_operator(&mut self, operator: &str, operand: &Value) {
        let field = |name| operand.get(name);
        match (operator, field("attr").and_then(Value::as_str)) {
            ("." | "has", Some(attribute)) => {
                self.attributes |= bit(attribute).unwrap_or(0);
                let of = field("left").unwrap_or(operand);
                let context = of.get("Var").and_then(Value::as_str) == Some("context");
                if !context {
                    self.read(of);
                }
            }
            // The context as a whole: compared, or put into a set.
            ("Var", _) if operand.as_str() == Some("context") => self.everything = true,
            ("hasTag" | "getTag", _) => {
                let of = field("left").and_then(|left| left.get("Var"));
                self.tags |= of.and_then(Value::as_str) != Some("principal");
                // An identity that is named otherwise may be the caller, too.
                self.labels = true;
                self.read(operand);
            }
            _ => self.read(operand),
        }
    }

    /// What either reads.
    #[must_use]
    pub(super) const fn and(self, other: Self) -> Self {
        Self {
            everything: self.everything | other.everything,
            attributes: self.attributes | other.attributes,
            tags: self.tags | other.tags,
            labels: self.labels | other.labels,
        }
    }
}

#[cfg(test)]
mod tests {
    use cedar_policy::Policy;

    use super::*;

    fn needs(condition: &str) -> Needs {
        let text = format!("forbid (principal, action, resource) when {{ {condition} }};");
        Needs::of(&Policy::parse(None, text).unwrap().to_json().unwrap())
    }

    #[test]
    fn what_is_read_is_needed_however_it_is_written() {
        for condition in [
            r#"context.hour > 5"#,
            r#"context["hour"] > 5"#,
            r#"context["\u{68}our"] > 5"#,
            r#"context has hour"#,
            r#"context has hour.minute"#,
            r#"[1].contains(context.hour)"#,
            r#"if true then context.hour == 1 else false"#,
            r#"{"Var": context.hour} == {"attr": 1}"#,
            r#"context == {}"#,
            r#"[context].isEmpty()"#,
        ] {
            assert!(needs(condition).attribute("hour"), "{condition}");
        }
        for condition in [
            r#"true"#,
            r#"context.holder.name == "hour""#,
            r#"principal in Role::"hour""#,
        ] {
            let needs = needs(condition);
            assert!(!needs.attribute("hour") && !needs.tags(), "{condition}");
            assert!(!needs.labels(), "{condition}");
        }
        assert!(needs(r#"resource.holder.name == "x""#).attribute("holder"));
        assert!(needs(r#"resource.hasTag(context.holder.name)"#).tags());
        assert!(needs(r#"resource.hasTag("a") && resource.getTag("a") == "b""#).tags());
        let labels = needs(r#"principal.hasTag("a") && principal.getTag("a") == "b""#);
        assert!(labels.labels() && !labels.tags());
        assert!(needs(r#"(if true then principal else resource).hasTag("a")"#).labels());
        assert!(needs(r#"(if true then principal else resource).hasTag("a")"#).tags());
        assert!(needs(r#"resource.holder.hasTag("a")"#).labels());
        assert!(needs(r#"principal.hasTag(resource.getTag("a"))"#).tags());
    }
}
