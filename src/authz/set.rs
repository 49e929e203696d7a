//! A set of policies that somebody wrote: parsed, held to the schema, given names that no built-in has, and cut for
//! decisions. One fault refuses the whole set, told with its line, column and reason.

use std::{collections::BTreeSet, fmt, str::FromStr};

use cedar_policy::{
    Effect, Policy, PolicyId, PolicySet as CedarSet, ValidationMode, ValidationWarning, Validator,
};
use miette::Diagnostic;

use super::{built_in, slice::Slices};

/// The largest text of a set, all of its sources together, in bytes: some thousand policies.
pub const MAX_SET_BYTES: usize = 512 * 1024;
/// The most policies in a set.
pub const MAX_POLICIES: usize = 1_000;
/// The longest name of a policy, in bytes.
const MAX_ID_BYTES: usize = 64;
/// The deepest nesting of brackets: reading a policy takes stack for each.
const MAX_DEPTH: usize = 64;
/// The most characters of operators in one policy, for the same reason: each may nest what follows it.
const MAX_OPERATORS: usize = 512;
/// The stack that policies at these bounds are read on, in bytes: what is not used is never touched.
const STACK_BYTES: usize = 256 * 1024 * 1024;
/// The most faults that are told at once.
const MAX_FAULTS: usize = 20;

/// Whose policies they are, which their names begin with: `workspace:office-hours`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Files that were read at the start; they hold in every workspace.
    File,
    /// The organisation's, which hold in every workspace.
    Organisation,
    /// A workspace's own.
    Workspace,
}

impl Layer {
    /// The layer's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Organisation => "organisation",
            Self::Workspace => "workspace",
        }
    }
}

/// One text of policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file's name, or what else the text is known by; in faults, and in the names of policies without an `@id`.
    pub name: String,
    pub text: String,
}

/// What is wrong with a set, or remarkable in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub source: String,
    /// From 1; in characters. None where the fault has no place.
    pub line: Option<u32>,
    pub column: Option<u32>,
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

/// Valid policies of one layer.
#[derive(Debug, Default)]
pub struct PolicySet {
    policies: CedarSet,
    pub(super) slices: Slices,
    warnings: Vec<Fault>,
}

impl PolicySet {
    /// Reads the policies of a layer; all faults that were found, where there is one.
    pub fn parse(layer: Layer, sources: &[Source]) -> Result<Self, Vec<Fault>> {
        let broken = |reason: String| {
            let source = sources.first().map(|source| source.name.clone());
            vec![Fault {
                source: source.unwrap_or_default(),
                line: None,
                column: None,
                reason,
            }]
        };
        std::thread::scope(|scope| {
            let reader = std::thread::Builder::new().stack_size(STACK_BYTES);
            let reading = reader.spawn_scoped(scope, || Self::read(layer, sources));
            let reading =
                reading.map_err(|error| broken(format!("no thread to read on: {error}")))?;
            let unreadable = || broken("the policies cannot be read".to_owned());
            reading.join().unwrap_or_else(|_| Err(unreadable()))
        })
    }

    fn read(layer: Layer, sources: &[Source]) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader {
            layer,
            ids: BTreeSet::new(),
            policies: Vec::new(),
            faults: Vec::new(),
            warnings: Vec::new(),
        };
        let bytes: usize = sources.iter().map(|source| source.text.len()).sum();
        for source in sources {
            if bytes > MAX_SET_BYTES {
                let reason = format!("the policies are longer than {MAX_SET_BYTES} bytes in all");
                return Err(vec![At(source).fault(None, reason)]);
            }
            reader.read(source);
        }
        reader.finish(sources)
    }

    /// The policies' names, in order.
    pub fn ids(&self) -> Vec<String> {
        let ids = self
            .policies
            .policies()
            .map(|policy| policy.id().to_string());
        let ids: BTreeSet<_> = ids.collect();
        ids.into_iter().collect()
    }

    /// How many policies there are.
    pub fn len(&self) -> usize {
        self.policies.num_of_policies()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// What is valid and probably not meant: a condition that never holds, a permit that gives nothing.
    pub fn warnings(&self) -> &[Fault] {
        &self.warnings
    }

    /// An annotation of a policy, by the policy's name.
    pub(super) fn annotation(&self, id: &str, key: &str) -> Option<&str> {
        self.policies.annotation(&PolicyId::new(id), key)
    }
}

/// A source, which knows where its bytes stand.
struct At<'a>(&'a Source);

impl At<'_> {
    fn fault(&self, offset: Option<usize>, reason: impl fmt::Display) -> Fault {
        let place = offset.map(|offset| {
            let before = self.0.text.get(..offset).unwrap_or(&self.0.text);
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
            let small = |n| u32::try_from(n).unwrap_or(u32::MAX);
            (small(line), small(column))
        });
        // On one line, whatever a parser makes of it.
        let reason = reason.to_string();
        Fault {
            source: self.0.name.clone(),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            reason: reason.split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }

    fn diagnosed(&self, diagnostic: &(impl Diagnostic + fmt::Display)) -> Fault {
        let label = diagnostic.labels().and_then(|mut labels| labels.next());
        let help = diagnostic.help().map(|help| format!("; {help}"));
        let reason = format!("{diagnostic}{}", help.unwrap_or_default());
        self.fault(label.map(|label| label.offset()), reason)
    }
}

struct Reader {
    layer: Layer,
    ids: BTreeSet<String>,
    policies: Vec<Policy>,
    faults: Vec<Fault>,
    warnings: Vec<Fault>,
}

impl Reader {
    fn read(&mut self, source: &Source) {
        let at = At(source);
        if let Some(offset) = too_deep(&source.text) {
            let reason = format!(
                "the policy nests deeper than {MAX_DEPTH} brackets, or holds more than {MAX_OPERATORS} operators"
            );
            return self.faults.push(at.fault(Some(offset), reason));
        }
        let parsed = match CedarSet::from_str(&source.text) {
            Ok(parsed) => parsed,
            Err(errors) => {
                let errors = errors.iter().map(|error| at.diagnosed(error));
                return self.faults.extend(errors);
            }
        };
        if let Some(template) = parsed.templates().next() {
            let text = template.to_cedar();
            let reason =
                "templates (`?principal`, `?resource`) are not taken: write the policy out";
            return self.faults.push(at.fault(source.text.find(&text), reason));
        }
        // Before they are validated, which takes longest.
        if self.policies.len() + parsed.num_of_policies() > MAX_POLICIES {
            let reason = format!("there are more than {MAX_POLICIES} policies");
            return self.faults.push(at.fault(None, reason));
        }
        let schema = match built_in::schema() {
            Ok(schema) => schema,
            Err(fault) => return self.faults.push(at.fault(None, fault)),
        };
        let validation = Validator::new(schema.clone()).validate(&parsed, ValidationMode::Strict);
        let errors = validation
            .validation_errors()
            .map(|error| at.diagnosed(error));
        self.faults.extend(errors);
        for warning in validation.validation_warnings() {
            // Cedar takes it; whoever wrote it counts on it, and nothing is ever asked that it could answer.
            match matches!(warning, ValidationWarning::InvalidActionApplication(_)) {
                true => self.faults.push(at.diagnosed(warning)),
                false => self.warnings.push(at.diagnosed(warning)),
            }
        }
        let mut policies: Vec<_> = parsed.policies().collect();
        // Cedar numbers them in their order: `policy0`, `policy1`, …
        policies.sort_by_key(|policy| (policy.id().to_string().len(), policy.id().to_string()));
        let mut from = 0;
        for (number, policy) in policies.into_iter().enumerate() {
            let text = policy.to_cedar().unwrap_or_default();
            let rest = source.text.get(from..).unwrap_or_default();
            let offset = rest.find(&text).map(|found| from + found);
            from = offset.map_or(from, |offset| offset + text.len());
            match self.name(source, number, policy) {
                Ok(named) => {
                    if named.effect() == Effect::Permit {
                        let reason = "a permit gives nothing that the caller's role and scopes do not give already; \
                                      write what is not allowed as a `forbid`";
                        self.warnings.push(at.fault(offset, reason));
                    }
                    self.policies.push(named);
                }
                Err(reason) => self.faults.push(at.fault(offset, reason)),
            }
        }
    }

    /// The policy under its name.
    fn name(&mut self, source: &Source, number: usize, policy: &Policy) -> Result<Policy, String> {
        let own = match policy.annotation("id") {
            Some(id) => id.to_owned(),
            None => format!("{}.{number}", source.name.trim_end_matches(".cedar")),
        };
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let good = own.len() <= MAX_ID_BYTES
            && own.bytes().next().is_some_and(plain)
            && own
                .bytes()
                .all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'));
        if !good {
            return Err(match own.split_once(':') {
                Some((family, _)) => format!(
                    "the id `{own}` is refused: `{family}:` is kept for the vault's own policies, and none may shadow one"
                ),
                None => format!(
                    "the id `{own}` must match [a-z0-9][a-z0-9._-]{{0,63}}; give it with `@id(\"…\")`"
                ),
            });
        }
        if policy.annotation("validation").is_some_and(str::is_empty) {
            return Err("`@validation` must say what a value has to be".to_owned());
        }
        if !self.ids.insert(own.clone()) {
            return Err(format!("the id `{own}` is used twice"));
        }
        Ok(policy.new_id(PolicyId::new(format!("{}:{own}", self.layer.as_str()))))
    }

    fn finish(mut self, sources: &[Source]) -> Result<PolicySet, Vec<Fault>> {
        let whole = |reason: String| Fault {
            source: sources
                .last()
                .map(|source| source.name.clone())
                .unwrap_or_default(),
            line: None,
            column: None,
            reason,
        };
        if !self.faults.is_empty() {
            self.faults.truncate(MAX_FAULTS);
            return Err(self.faults);
        }
        let broken = |fault: &dyn fmt::Display| vec![whole(fault.to_string())];
        let schema = built_in::schema().map_err(|fault| broken(&fault))?;
        let slices = Slices::cut(self.policies.iter(), schema).map_err(|fault| broken(&fault))?;
        let policies = CedarSet::from_policies(self.policies).map_err(|fault| broken(&fault))?;
        Ok(PolicySet {
            policies,
            slices,
            warnings: self.warnings,
        })
    }
}

/// Where a text nests too deep for the parser, which takes stack for every level.
fn too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut operators) = (0_usize, 0_usize);
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => {
                // To the end of the string; an escaped quote is part of it.
                while let Some((_, byte)) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'/' if bytes.peek().is_some_and(|(_, next)| *next == b'/') => {
                while bytes.next().is_some_and(|(_, byte)| byte != b'\n') {}
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b';' => (depth, operators) = (0, 0),
            b'!' | b'-' | b'+' | b'*' | b'|' | b'&' | b'.' => operators += 1,
            b't' if text.get(at..).is_some_and(|rest| rest.starts_with("then")) => operators += 1,
            _ => {}
        }
        if depth > MAX_DEPTH || operators > MAX_OPERATORS {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests;
