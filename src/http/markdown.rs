//! An exposure report as a page of Markdown: the summary first, tables after. INVARIANT (inert): what callers wrote
//! (purposes, user agents, sessions) stays text on its own line, in its own cell; it makes no markup, link or HTML.

mod tables;
mod text;

use std::fmt::{Display, Write};

use self::text::{NOTHING, cell_code, code, inert};

use crate::engine::{Exposure, Remedy, Who};

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
}

fn summary(page: &mut Page, report: &Exposure) {
    let summary = &report.summary;
    page.heading("Summary");
    page.line(format_args!(
        "- {} in {} held {} in this time. **{} still open.**",
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
    let versions = report.credentials.iter().flat_map(|credential| {
        let tainted = credential
            .versions
            .iter()
            .filter(|version| version.revealed);
        tainted.map(|version| {
            format!(
                "{} version {}",
                inert(credential.name.as_str()),
                version.number
            )
        })
    });
    let versions: Vec<_> = versions.collect();
    page.line(match versions.is_empty() {
        true => "- No version of these was ever revealed: whoever held them needed the vault for each use.".to_owned(),
        false => format!(
            "- **Tainted: {}.** Whoever read a value knows it until it is replaced at its provider, with or without a \
             lease.",
            versions.join(", ")
        ),
    });
    if summary.earlier_readers > 0 {
        page.line(format_args!(
            "- {} had read a value before, by leases that had ended by then.",
            count(summary.earlier_readers, "holder", "holders")
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
    if report.actions.is_empty() {
        page.line("Nothing of this is open, and no value that was read is in use here.");
    }
    for (number, action) in (1..).zip(&report.actions) {
        page.line(format_args!(
            "{number}. {}: {} ({})",
            inert(&action.what),
            code(&action.command),
            code(&format!("{} {}", action.method, action.path))
        ));
    }
}

#[cfg(test)]
mod tests;
