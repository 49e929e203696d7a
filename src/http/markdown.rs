//! An exposure report as a page of Markdown: the summary first, tables after. INVARIANT (inert): what callers wrote
//! (purposes, user agents, sessions) stays text on its own line, in its own cell; it makes no markup, link or HTML.

mod tables;
mod text;

use std::fmt::{Display, Write};

use self::text::{NOTHING, cell_code, code, inert};

use crate::engine::{Damaged, Exposure, Remedy, Who};

/// The state of a version of which no record is left.
const DELETED: &str = "deleted";

fn or_nothing(value: Option<impl Display>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| value.to_string())
}

/// Names and ids are restricted to harmless characters; an underscore would still be markup.
fn who(who: &Who) -> String {
    match (who.r#type, &who.name) {
        (Some(kind), Some(name)) => inert(&format!("{kind}/{name}")),
        (None, Some(name)) => inert(name.as_str()),
        (_, None) => inert(&who.id.to_string()),
    }
}

/// The same, with the id where several of the report have that name: one after the other, or of two workspaces.
fn who_of(report: &Exposure, one: &Who) -> String {
    let same = |agent: &crate::engine::Agent| {
        agent.who.id != one.id && who(&agent.who) == who(one) && one.name.is_some()
    };
    match report.agents.iter().any(same) {
        true => format!("{} {}", who(one), cell_code(&one.id.to_string())),
        false => who(one),
    }
}

fn remedy(remedy: Option<&Remedy>) -> String {
    remedy.map_or_else(|| NOTHING.to_owned(), |remedy| cell_code(&remedy.command))
}

fn count(n: u64, one: &str, many: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    }
}

/// A page that is being written. Writing to a string cannot fail.
struct Page(String);

impl Page {
    fn line(&mut self, line: impl Display) {
        let _ = writeln!(self.0, "{line}");
    }

    fn heading(&mut self, text: &str) {
        let _ = write!(self.0, "\n## {text}\n\n");
    }

    fn table(&mut self, titles: &[&str], rows: impl Iterator<Item = Vec<String>>) {
        self.line(format_args!("| {} |", titles.join(" | ")));
        self.line(format_args!("|{}", " --- |".repeat(titles.len())));
        for row in rows {
            self.line(format_args!("| {} |", row.join(" | ")));
        }
    }
}

/// The report as a page.
pub(super) fn page(report: &Exposure) -> String {
    let mut page = Page(String::new());
    page.line("# Exposure report\n");
    head(&mut page, report);
    summary(&mut page, report);
    actions(&mut page, report);
    tables::credentials(&mut page, report);
    tables::agents(&mut page, report);
    tables::leases(&mut page, report);
    tables::others(&mut page, report);
    page.0
}

fn head(page: &mut Page, report: &Exposure) {
    let asked = &report.asked;
    let mut about: Vec<String> = [
        ("credential", asked.credential.clone()),
        ("version", asked.version.map(|version| version.to_string())),
        ("identity", asked.identity.clone()),
        ("session", asked.session_id.clone()),
        ("source", asked.source.clone()),
    ]
    .into_iter()
    .filter_map(|(what, value)| Some(format!("{what} {}", code(&value?))))
    .collect();
    about.push(match asked.since {
        Some(since) => format!("from {since} to {}", asked.until),
        None => format!("until {}", asked.until),
    });
    page.line(format_args!(
        "Who could have used it: {}.\n",
        about.join(", ")
    ));
    let rests = &report.rests_on;
    page.line(format_args!(
        "Workspace {}. Made {} for {} (request {}). Rests on the records {} to {} of history, {} of which match{}.",
        inert(&report.workspace),
        report.made_at,
        inert(&report.made_by),
        code(&report.request_id),
        rests.first_sequence,
        rests.last_sequence,
        rests.matching_records,
        match &rests.checkpoint {
            Some(checkpoint) => format!(
                ", and on the checkpoint of size {} with the root {}",
                checkpoint.size,
                code(&checkpoint.root)
            ),
            None => String::new(),
        }
    ));
    page.line("\nIt tells of this workspace alone.");
    if !rests.complete {
        page.line(format_args!(
            "\n**History is not complete:** {}. Every record of leases is there from record {} on, of denied attempts from \
             record {}. Leases that are open are told all the same, from the store.",
            rests.missing.join("; "),
            rests.leases_from_sequence,
            rests.denials_from_sequence
        ));
    }
    if !rests.unreadable.is_empty() {
        page.line(format_args!(
            "\n**Damaged or missing:** {} cannot be read{}. `leasehold audit verify` tells what is the matter with them.",
            ranges(&rests.unreadable),
            match rests.more_unreadable {
                true => ", and there may be more",
                false => "",
            }
        ));
    }
}

/// Records by their numbers.
fn ranges(of: &[Damaged]) -> String {
    let one = |range: &Damaged| match range.first == range.last {
        true => range.first.to_string(),
        false => format!("{} to {}", range.first, range.last),
    };
    let all: Vec<_> = of.iter().map(one).collect();
    let single = matches!(of, [one] if one.first == one.last);
    let noun = if single { "record" } else { "records" };
    format!("{noun} {}", all.join(", "))
}

/// What is known of who knows a value. It reassures nobody unless every version was looked at.
fn revealed(report: &Exposure) -> String {
    let versions = || {
        let credentials = report.credentials.iter();
        credentials.flat_map(|credential| {
            let versions = credential.versions.iter();
            versions.map(move |version| (credential, version))
        })
    };
    let tainted: Vec<_> = versions()
        .filter(|(_, version)| version.revealed)
        .map(|(of, version)| format!("{} version {}", inert(of.name.as_str()), version.number))
        .collect();
    if !tainted.is_empty() {
        return format!(
            "- **Tainted: {}.** Whoever read a value knows it until it is replaced at its provider, with or without a \
             lease.",
            tainted.join(", ")
        );
    }
    if !report.found {
        return "- **There is no such credential, in the store or in history.** Was it mistyped?"
            .to_owned();
    }
    if versions().next().is_none() {
        return "- No version was looked at, so nothing is known of who read one.".to_owned();
    }
    if versions().any(|(_, version)| version.state == DELETED) {
        return "- Whether each of these versions was ever revealed is not known: a deleted one has no more than its \
                leases."
            .to_owned();
    }
    "- No version of these was ever revealed: whoever held them needed the vault for each use."
        .to_owned()
}

fn summary(page: &mut Page, report: &Exposure) {
    let summary = &report.summary;
    page.heading("Summary");
    page.line(format_args!(
        "- {} in {} held, asked for or used {} in this time. **{} still open.**",
        count(summary.agents, "agent", "agents"),
        count(summary.sessions, "session", "sessions"),
        count(summary.leases, "lease", "leases"),
        match summary.open_leases {
            0 => "None is".to_owned(),
            1 => "1 is".to_owned(),
            n => format!("{n} are"),
        }
    ));
    page.line(format_args!(
        "- {} of them showed the value to the holder. {} in this time.",
        summary.revealing_leases,
        count(summary.redemptions, "redemption", "redemptions")
    ));
    page.line(revealed(report));
    if summary.earlier_readers > 0 {
        page.line(format_args!(
            "- {} had read a value before, by leases that had ended by then.",
            count(summary.earlier_readers, "identity", "identities")
        ));
    }
    page.line(format_args!(
        "- {} denied.",
        count(summary.denied_attempts, "attempt was", "attempts were")
    ));
    if summary.canary_alarms > 0 {
        page.line(format_args!(
            "- **{} of a canary.**",
            count(summary.canary_alarms, "alarm", "alarms")
        ));
    }
    if report.truncated {
        page.line(format_args!(
            "- **Not complete:** {}{}.",
            inert(report.hint.unwrap_or_default()),
            match &report.next_cursor {
                Some(cursor) => format!(" ({})", code(cursor)),
                None => String::new(),
            }
        ));
    }
}

fn actions(page: &mut Page, report: &Exposure) {
    page.heading("What to do now");
    let summary = &report.summary;
    if report.actions.is_empty() {
        page.line(match (summary.open_leases, summary.tainted_versions) {
            (0, 0) if report.found => "Nothing of this is open, and no value of it was read.",
            (0, 0) => "Nothing was found.",
            (0, _) => {
                "Nothing of this is open. What was read is known for good: see to it that its provider takes it no more."
            }
            _ => "Leases are open, and nothing here ends them.",
        });
    }
    for (number, action) in (1..).zip(&report.actions) {
        let elsewhere = action.workspace.as_deref();
        page.line(format_args!(
            "{number}. {}: {} ({}{})",
            inert(&action.what),
            code(&action.command),
            code(&format!("{} {}", action.method, action.path)),
            elsewhere.map_or_else(String::new, |name| format!(
                " in the workspace {}",
                inert(name)
            ))
        ));
    }
}

#[cfg(test)]
mod tests;
