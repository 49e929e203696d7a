//! An exposure report as a page of Markdown: the summary first, tables after. INVARIANT (inert): what callers wrote
//! (purposes, user agents, sessions) stays text on its own line, in its own cell; it makes no markup, link or HTML.

use std::fmt::{Display, Write};

use crate::engine::{ExposedLease, Exposure, Remedy, UsedFrom, Who};

/// The longest text of a caller's that a cell shows, in characters.
const MAX_CELL: usize = 200;
const NOTHING: &str = "–";

/// Characters that could drive a terminal or turn the direction of the text around them.
fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A text of somebody's as inert Markdown, in one line.
fn inert(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 8);
    let mut before = ' ';
    for (at, c) in text.chars().enumerate() {
        if at == MAX_CELL {
            shown.push('…');
            break;
        }
        match c {
            '\n' | '\t' => shown.push(' '),
            c if is_odd(c) => shown.push('\u{fffd}'),
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            // The colon and the dot as well: a bare address would become a link.
            '\\' | '`' | '*' | '_' | '[' | ']' | '(' | ')' | '|' | '#' | '~' | '!' | ':' | '$'
            | '@' => {
                shown.push('\\');
                shown.push(c);
            }
            '.' if before == 'w' || before == 'W' => shown.push_str("\\."),
            c => shown.push(c),
        }
        before = c;
    }
    match shown.trim() {
        "" => NOTHING.to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

/// A text as code within a cell, where a pipe would end it even so.
fn cell_code(text: &str) -> String {
    code(text).replace('|', "\\|")
}

/// A text as code, which nothing within it can end.
fn code(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if is_odd(c) { '\u{fffd}' } else { c })
        .collect();
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    let space = if longest > 0 { " " } else { "" };
    format!("{fence}{space}{text}{space}{fence}")
}

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
    credentials(&mut page, report);
    agents(&mut page, report);
    leases(&mut page, report);
    others(&mut page, report);
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

fn credentials(page: &mut Page, report: &Exposure) {
    if report.credentials.is_empty() {
        return;
    }
    page.heading("Versions");
    let rows = report.credentials.iter().flat_map(|credential| {
        credential.versions.iter().map(move |version| {
            let canary = if credential.canary { " (canary)" } else { "" };
            vec![
                format!("{}{canary}", inert(credential.name.as_str())),
                version.number.to_string(),
                version.state.to_owned(),
                match (version.revealed, version.revealed_at) {
                    (true, Some(at)) => format!("**yes**, first {at}"),
                    (true, None) => "**yes**".to_owned(),
                    (false, _) => "no".to_owned(),
                },
                version.leases.to_string(),
                version.open_leases.to_string(),
                or_nothing(version.erased_at),
                remedy(version.remedy.as_ref()),
            ]
        })
    });
    page.table(
        &[
            "Credential",
            "Version",
            "State",
            "Revealed",
            "Leases",
            "Open",
            "Erased",
            "End it",
        ],
        rows,
    );
}

fn agents(page: &mut Page, report: &Exposure) {
    if !report.agents.is_empty() {
        page.heading("Agents");
        let rows = report.agents.iter().map(|agent| {
            vec![
                who(&agent.who),
                agent.state.to_owned(),
                agent.leases.to_string(),
                agent.open_leases.to_string(),
                if agent.revealed { "**yes**" } else { "no" }.to_owned(),
                agent.redemptions.to_string(),
                agent.first_lease_at.to_string(),
                or_nothing(agent.last_use_at),
                remedy(agent.remedy.as_ref()),
            ]
        });
        page.table(
            &[
                "Identity",
                "State",
                "Leases",
                "Open",
                "Read the value",
                "Redemptions",
                "First lease",
                "Last use",
                "End it",
            ],
            rows,
        );
    }
    if !report.sessions.is_empty() {
        page.heading("Sessions");
        let rows = report.sessions.iter().map(|session| {
            vec![
                cell_code(&session.session_id),
                inert(&session.holders.join(", ")),
                session.leases.to_string(),
                session.open_leases.to_string(),
                remedy(session.remedy.as_ref()),
            ]
        });
        page.table(&["Session", "Holders", "Leases", "Open", "End it"], rows);
    }
}

fn place(place: &UsedFrom) -> String {
    let agent = place.user_agent.as_deref().map(inert);
    format!(
        "{} from {} by {} with {}{}",
        place.how,
        or_nothing(place.source_ip),
        agent.as_deref().unwrap_or(NOTHING),
        place
            .proof
            .as_deref()
            .map_or_else(|| NOTHING.to_owned(), cell_code),
        match place.count {
            1 => String::new(),
            n => format!(", {n} times"),
        }
    )
}

fn lease(lease: &ExposedLease) -> Vec<String> {
    let mut places: Vec<_> = lease.used_from.iter().map(place).collect();
    if lease.more_used_from > 0 {
        places.push(format!("{} more", lease.more_used_from));
    }
    let versions: Vec<_> = lease.versions.iter().map(ToString::to_string).collect();
    vec![
        cell_code(&lease.id.to_string()),
        format!(
            "{} {}",
            inert(lease.credential_name.as_str()),
            versions.join(", ")
        ),
        match lease.on_behalf {
            true => format!(
                "{}, asked for by {}",
                who(&lease.holder),
                who(&lease.requested_by)
            ),
            false => who(&lease.holder),
        },
        lease
            .session_id
            .as_deref()
            .map_or_else(|| NOTHING.to_owned(), cell_code),
        lease
            .purpose
            .as_deref()
            .map_or_else(|| NOTHING.to_owned(), inert),
        match lease.canary_alarm {
            true => format!("{}, **canary**", lease.handed.as_str()),
            false => lease.handed.as_str().to_owned(),
        },
        lease.issued_at.to_string(),
        match (lease.open, lease.ended_at) {
            (true, _) => format!("**open** until {}", or_nothing(lease.expires_at)),
            (false, at) => format!("{} {}", lease.state, or_nothing(at)),
        },
        match lease.last_redeemed_at {
            Some(at) => format!("{}, last {at}", lease.redemptions),
            None => lease.redemptions.to_string(),
        },
        places.join("; "),
        remedy(lease.remedy.as_ref()),
    ]
}

fn leases(page: &mut Page, report: &Exposure) {
    page.heading("Leases");
    if report.leases.is_empty() {
        return page.line("None was open in this time.");
    }
    page.table(
        &[
            "Lease",
            "Of",
            "Holder",
            "Session",
            "Purpose",
            "How",
            "Issued",
            "Ended",
            "Redemptions",
            "From",
            "End it",
        ],
        report.leases.iter().map(lease),
    );
}

fn others(page: &mut Page, report: &Exposure) {
    if !report.proofs.is_empty() {
        page.heading("Keys and tokens");
        let rows = report.proofs.iter().map(|proof| {
            vec![
                cell_code(&proof.id),
                proof.r#type.to_owned(),
                proof
                    .identity
                    .as_deref()
                    .map_or_else(|| NOTHING.to_owned(), inert),
                proof.leases.to_string(),
                remedy(proof.remedy.as_ref()),
            ]
        });
        page.table(&["Id", "Type", "Of", "Leases", "End it"], rows);
    }
    if !report.earlier_readers.is_empty() {
        page.heading("Read before this time");
        let rows = report.earlier_readers.iter().map(|reader| {
            vec![
                who(&reader.who),
                format!(
                    "{} {}",
                    inert(reader.credential_name.as_str()),
                    reader.version
                ),
                reader.leases.to_string(),
                reader.last_lease_ended_at.to_string(),
            ]
        });
        page.table(&["Identity", "Read", "Leases", "Last one ended"], rows);
    }
    if !report.denied.is_empty() {
        page.heading("Denied attempts");
        let rows = report.denied.iter().map(|denied| {
            vec![
                denied.sequence.to_string(),
                denied.time.to_string(),
                denied.who.as_ref().map_or_else(|| NOTHING.to_owned(), who),
                inert(denied.event),
                inert(&denied.code),
                denied
                    .reason
                    .as_deref()
                    .map_or_else(|| NOTHING.to_owned(), inert),
                or_nothing(denied.source_ip),
                denied
                    .user_agent
                    .as_deref()
                    .map_or_else(|| NOTHING.to_owned(), inert),
            ]
        });
        page.table(
            &[
                "Record",
                "Time",
                "Identity",
                "Event",
                "Code",
                "Reason",
                "From",
                "User agent",
            ],
            rows,
        );
        let more = report
            .summary
            .denied_attempts
            .saturating_sub(report.denied.len() as u64);
        if more > 0 {
            page.line(format_args!("\n{more} more."));
        }
    }
}

#[cfg(test)]
mod tests;
