//! A look at a policy's conditions before Cedar has it: plain comparisons of facts at hand often tell that it does not
//! apply, and then neither the policy nor what it would read is put to Cedar, which costs a microsecond each.
//!
//! INVARIANT (glance): a policy is passed over only where Cedar would find that it is not satisfied, and without an error.
//! What cannot be told here, an error included, is Cedar's to say, and so is that a policy applies. The semantics are those
//! of Cedar's evaluator (<https://docs.cedarpolicy.com/policies/syntax-operators.html>): clauses from left to right, `&&`
//! and `||` cut short. Conditions are read as Cedar's own JSON has them; the schema was held to them before.

mod facts;

use serde_json::Value;

use self::facts::Fact;
pub(super) use self::facts::Seen;
/// The deepest conditions that are looked at: looking takes stack for each level.
const MAX_DEPTH: usize = 64;

/// The facts that the policies of a part look at, each once.
#[derive(Debug, Default)]
pub(super) struct Facts(Vec<Fact>);

impl Facts {
    fn place(&mut self, fact: Fact) -> usize {
        let known = self.0.iter().position(|known| *known == fact);
        known.unwrap_or_else(|| {
            self.0.push(fact);
            self.0.len() - 1
        })
    }
}

/// A policy's `when` and `unless`, in their order.
#[derive(Debug)]
pub(super) struct Glance(Vec<Clause>);

#[derive(Debug)]
struct Clause {
    /// What the condition must be for the policy to apply: false of an `unless`.
    wanted: bool,
    condition: Term,
}

/// An expression, as far as it is understood.
#[derive(Debug)]
enum Term {
    Unknown,
    Bool(bool),
    Long(i64),
    Text(String),
    Entity(String, String),
    /// By its place among [`Facts`].
    Fact(usize),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    If(Box<Self>, Box<Self>, Box<Self>),
    Equal(Box<Self>, Box<Self>),
    Less(Box<Self>, Box<Self>),
    LessOrEqual(Box<Self>, Box<Self>),
    /// What stands between the wildcards.
    Like(Box<Self>, Vec<String>),
    /// One of these is it.
    Among(Vec<Self>, Box<Self>),
}

/// What an expression is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is<'a> {
    Bool(bool),
    Long(i64),
    Text(&'a str),
    Entity(&'a str, &'a str),
}

impl Glance {
    /// Reads the conditions of a policy in Cedar's JSON.
    pub(super) fn of(policy: &Value, facts: &mut Facts) -> Self {
        let clauses = policy.get("conditions").and_then(Value::as_array);
        let clause = |clause: &Value| Clause {
            wanted: clause.get("kind").and_then(Value::as_str) == Some("when"),
            condition: clause.get("body").map_or(Term::Unknown, |body| {
                Term::read(body, facts, MAX_DEPTH).unwrap_or(Term::Unknown)
            }),
        };
        // Without conditions, it is its scope alone that decides, which is not looked at.
        Self(clauses.into_iter().flatten().map(clause).collect())
    }

    /// Whether the policy cannot apply.
    pub(super) fn rules_out(&self, seen: &Seen<'_>) -> bool {
        for clause in &self.0 {
            match clause.condition.is(seen) {
                Some(Is::Bool(is)) if is == clause.wanted => {}
                Some(Is::Bool(_)) => return true,
                _ => return false,
            }
        }
        false
    }
}

impl Term {
    /// Reads an expression; none where it is nothing that is understood.
    fn read(json: &Value, facts: &mut Facts, depth: usize) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        let (operator, operand) = json.as_object()?.iter().next()?;
        let mut read = |json: Option<&Value>| {
            let term = json.and_then(|json| Self::read(json, facts, depth));
            Box::new(term.unwrap_or(Self::Unknown))
        };
        let field = |name: &str| operand.get(name);
        let (left, right) = (field("left"), field("right"));
        Some(match operator.as_str() {
            "Value" => return Self::literal(operand),
            "!" => Self::Not(read(field("arg"))),
            "&&" => Self::And(read(left), read(right)),
            "||" => Self::Or(read(left), read(right)),
            "==" => Self::Equal(read(left), read(right)),
            "!=" => Self::Not(Box::new(Self::Equal(read(left), read(right)))),
            "<" => Self::Less(read(left), read(right)),
            "<=" => Self::LessOrEqual(read(left), read(right)),
            ">" => Self::Less(read(right), read(left)),
            ">=" => Self::LessOrEqual(read(right), read(left)),
            "if-then-else" => Self::If(read(field("if")), read(field("then")), read(field("else"))),
            "like" => Self::Like(read(left), pattern(field("pattern")?)?),
            "contains" => match left.and_then(|left| left.get("Set")) {
                Some(set) => {
                    let members = set.as_array()?.iter().map(Self::member);
                    Self::Among(members.collect::<Option<_>>()?, read(right))
                }
                None => Self::Fact(facts.place(Fact::of(operator, operand)?)),
            },
            _ => Self::Fact(facts.place(Fact::of(operator, operand)?)),
        })
    }

    fn member(json: &Value) -> Option<Self> {
        Self::literal(json.get("Value")?)
    }

    fn literal(json: &Value) -> Option<Self> {
        if let Some((kind, id)) = entity(json) {
            return Some(Self::Entity(kind.to_owned(), id.to_owned()));
        }
        Some(match json {
            Value::Bool(is) => Self::Bool(*is),
            Value::Number(number) => Self::Long(number.as_i64()?),
            Value::String(text) => Self::Text(text.clone()),
            _ => return None,
        })
    }

    /// What the expression is; none where that cannot be told.
    fn is<'a>(&'a self, seen: &'a Seen<'_>) -> Option<Is<'a>> {
        let bool = |term: &Self| match term.is(seen) {
            Some(Is::Bool(is)) => Some(is),
            _ => None,
        };
        let longs = |left: &Self, right: &Self| match (left.is(seen)?, right.is(seen)?) {
            (Is::Long(left), Is::Long(right)) => Some((left, right)),
            _ => None,
        };
        Some(match self {
            Self::Unknown => return None,
            Self::Bool(is) => Is::Bool(*is),
            Self::Long(is) => Is::Long(*is),
            Self::Text(is) => Is::Text(is),
            Self::Entity(kind, id) => Is::Entity(kind, id),
            Self::Fact(place) => return seen.fact(*place),
            Self::Not(term) => Is::Bool(!bool(term)?),
            Self::And(left, right) => Is::Bool(bool(left)? && bool(right)?),
            Self::Or(left, right) => Is::Bool(bool(left)? || bool(right)?),
            Self::If(condition, then, otherwise) => match bool(condition)? {
                true => return then.is(seen),
                false => return otherwise.is(seen),
            },
            Self::Equal(left, right) => Is::Bool(left.is(seen)?.equals(right.is(seen)?)?),
            Self::Less(left, right) => longs(left, right).map(|(l, r)| Is::Bool(l < r))?,
            Self::LessOrEqual(left, right) => longs(left, right).map(|(l, r)| Is::Bool(l <= r))?,
            Self::Like(term, pieces) => match term.is(seen)? {
                Is::Text(text) => Is::Bool(matches(text, pieces)),
                _ => return None,
            },
            Self::Among(members, term) => {
                let is = term.is(seen)?;
                let mut among = false;
                for member in members {
                    among |= member.is(seen)?.equals(is)?;
                }
                Is::Bool(among)
            }
        })
    }
}

impl Is<'_> {
    /// Whether two of a kind are equal; the schema lets nothing else be compared.
    fn equals(self, other: Is<'_>) -> Option<bool> {
        match (self, other) {
            (Self::Bool(one), Is::Bool(other)) => Some(one == other),
            (Self::Long(one), Is::Long(other)) => Some(one == other),
            (Self::Text(one), Is::Text(other)) => Some(one == other),
            (Self::Entity(kind, id), Is::Entity(other_kind, other_id)) => {
                Some(kind == other_kind && id == other_id)
            }
            _ => None,
        }
    }
}

/// Type and id of an entity that is named.
fn entity(json: &Value) -> Option<(&str, &str)> {
    let entity = json.get("__entity")?;
    let text = |field| entity.get(field).and_then(Value::as_str);
    text("type").zip(text("id"))
}

/// What stands between the wildcards of a pattern: `a*b` is `a`, `b`; `*` is two empty texts.
fn pattern(json: &Value) -> Option<Vec<String>> {
    let mut pieces = vec![String::new()];
    for element in json.as_array()? {
        match (element.as_str(), element.get("Literal")) {
            (Some("Wildcard"), _) => pieces.push(String::new()),
            (_, Some(Value::String(text))) => pieces.last_mut()?.push_str(text),
            _ => return None,
        }
    }
    Some(pieces)
}

/// Whether a text is these pieces with anything between them.
fn matches(text: &str, pieces: &[String]) -> bool {
    let [first, between @ .., last] = pieces else {
        return pieces.first().is_some_and(|whole| whole == text);
    };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else {
        return false;
    };
    // The first place of each leaves the most for those behind it.
    for piece in between {
        match rest.find(piece.as_str()) {
            Some(at) => rest = rest.get(at + piece.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last.as_str())
}

#[cfg(test)]
mod tests;
